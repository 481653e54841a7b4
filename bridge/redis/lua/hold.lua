-- Goes on being the feed, and tells the edges how it is.
-- KEYS: lease, state, channel. ARGV: owner, token, lease in ms, state, the command that publishes.
local held = redis.call('HMGET', KEYS[1], 'owner', 'token')
if held[1] ~= ARGV[1] or held[2] ~= ARGV[2] then
  return 'REFUSED'
end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('SET', KEYS[2], ARGV[4])
redis.call(ARGV[5], KEYS[3], ARGV[4])
return 'OK'
