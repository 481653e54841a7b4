-- Forgets all that a shard has, and begins with the newest rows of an epoch.
-- KEYS: head, stream, newest rows. ARGV: token, epoch, all newest rows.
local token = redis.call('HGET', KEYS[1], 'token')
if token and tonumber(token) > tonumber(ARGV[1]) then
  return 'REFUSED'
end
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
redis.call('HSET', KEYS[1], 'token', ARGV[1], 'epoch', ARGV[2], 'last', '')
redis.call('SET', KEYS[3], ARGV[3])
return 'OK'
