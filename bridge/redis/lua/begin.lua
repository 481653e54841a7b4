-- Forgets all that a shard has, and begins with the newest rows of an epoch.
-- KEYS: head, stream, newest rows. ARGV: token, epoch, then name and value of each newest row.
local token = redis.call('HGET', KEYS[1], 'token')
if token and tonumber(token) > tonumber(ARGV[1]) then
  return 'REFUSED'
end
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
redis.call('HSET', KEYS[1], 'token', ARGV[1], 'epoch', ARGV[2], 'last', '')
for first = 3, #ARGV, 1000 do
  redis.call('HSET', KEYS[3], unpack(ARGV, first, math.min(first + 999, #ARGV)))
end
return 'OK'
