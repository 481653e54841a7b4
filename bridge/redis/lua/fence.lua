-- Lets no older feed write to a shard any more, and tells where it stands.
-- KEYS: head, stream. ARGV: token, epoch. Where the shard has another epoch, nothing is changed.
local known = redis.call('HMGET', KEYS[1], 'epoch', 'token', 'last')
if known[2] and tonumber(known[2]) > tonumber(ARGV[1]) then
  return 'REFUSED'
end
if known[1] == ARGV[2] then
  redis.call('HSET', KEYS[1], 'token', ARGV[1])
end
local last = known[3] or ''
local found = last ~= '' and redis.call('XRANGE', KEYS[2], last, last) or {}
return {known[1] or '', known[2] or '0', last, found[1] and found[1][2][2] or ''}
