-- The newest rows of a shard as they were written last, the messages that followed, and where it stands, all at one
-- moment. KEYS: head, newest rows, stream.
local known = redis.call('HMGET', KEYS[1], 'epoch', 'token', 'last', 'written')
local follow = {}
for _, entry in ipairs(redis.call('XRANGE', KEYS[3], known[4] and '(' .. known[4] or '-', '+')) do
  follow[#follow + 1] = entry[2][2]
end
return {known[1] or '', known[2] or '0', known[3] or '', redis.call('GET', KEYS[2]) or '', follow}
