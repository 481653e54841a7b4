-- Tells how far everything is published, and returns how many hear it.
-- KEYS: channel. ARGV: message, the command that publishes.
return redis.call(ARGV[2], KEYS[1], ARGV[1])
