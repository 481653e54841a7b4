-- The newest rows of a shard, and where it stands, at one moment. KEYS: head, newest rows.
local known = redis.call('HMGET', KEYS[1], 'epoch', 'token', 'last')
return {known[1] or '', known[2] or '0', known[3] or '', redis.call('HGETALL', KEYS[2])}
