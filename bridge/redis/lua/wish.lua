-- Says what an edge wants, for a time. KEYS: wishes, their ends. ARGV: edge, wish, lease in ms.
local now = redis.call('TIME')
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[2], now[1] * 1000 + math.floor(now[2] / 1000) + ARGV[3], ARGV[1])
return 'OK'
