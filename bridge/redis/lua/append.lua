-- Adds one shard's part of a turn: to its stream and to all that listen, and sets the newest rows where they come with it.
-- KEYS: head, stream, newest rows, channel. ARGV: token, epoch, turn, previous turn, oldest turn to keep, the command
-- that publishes, message, all newest rows of the shard or nothing.
local known = redis.call('HMGET', KEYS[1], 'token', 'epoch', 'last')
if known[3] == ARGV[3] then
  return 'OK' -- asked again: the answer to the first time was lost
end
if known[1] ~= ARGV[1] or known[2] ~= ARGV[2] or known[3] ~= ARGV[4] then
  return 'REFUSED'
end
redis.call('XADD', KEYS[2], 'MINID', '~', ARGV[5], ARGV[3], 'm', ARGV[7])
redis.call('HSET', KEYS[1], 'last', ARGV[3])
if ARGV[8] then
  redis.call('SET', KEYS[3], ARGV[8])
  redis.call('HSET', KEYS[1], 'written', ARGV[3])
end
redis.call(ARGV[6], KEYS[4], ARGV[7])
return 'OK'
