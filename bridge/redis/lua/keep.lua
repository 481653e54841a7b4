-- Keeps a piece that edges may fetch. KEYS: lease, piece. ARGV: owner, token, piece.
local held = redis.call('HMGET', KEYS[1], 'owner', 'token')
if held[1] ~= ARGV[1] or held[2] ~= ARGV[2] then
  return 'REFUSED'
end
redis.call('SET', KEYS[2], ARGV[3])
return 'OK'
