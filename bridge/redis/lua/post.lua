-- Puts a message into a queue that is read soon, or forgotten. KEYS: queue. ARGV: message, ms to keep, most messages.
redis.call('RPUSH', KEYS[1], ARGV[1])
redis.call('LTRIM', KEYS[1], -ARGV[3], -1)
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 'OK'
