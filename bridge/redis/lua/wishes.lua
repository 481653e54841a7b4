-- What edges want now; what is over is forgotten. KEYS: wishes, their ends.
local now = redis.call('TIME')
local over = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now[1] * 1000 + math.floor(now[2] / 1000))
for _, edge in ipairs(over) do
  redis.call('HDEL', KEYS[1], edge)
  redis.call('ZREM', KEYS[2], edge)
end
return redis.call('HGETALL', KEYS[1])
