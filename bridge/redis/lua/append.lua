-- Adds one shard's part of a turn: to its stream, to all that listen, and to the newest rows.
-- KEYS: head, stream, newest rows, channel. ARGV: token, epoch, turn, previous turn, oldest turn to keep, the command
-- that publishes, message. The message is laid out as bridge/relay/turn.py says.
local known = redis.call('HMGET', KEYS[1], 'token', 'epoch', 'last')
if known[3] == ARGV[3] then
  return 'OK' -- asked again: the answer to the first time was lost
end
if known[1] ~= ARGV[1] or known[2] ~= ARGV[2] or known[3] ~= ARGV[4] then
  return 'REFUSED'
end
local message = ARGV[7]
redis.call('XADD', KEYS[2], 'MINID', '~', ARGV[5], ARGV[3], 'm', message)
redis.call('HSET', KEYS[1], 'last', ARGV[3])
redis.call(ARGV[6], KEYS[4], message)
local count, text = struct.unpack('<I4I4', message, HEADER - 15)
local lengths = HEADER + 40 * count
local names = HEADER + 44 * count
local row = names + text + struct.unpack('<I4', message, HEADER - 7) + 1
local next_name = string.gmatch(string.sub(message, names + 1, names + text), '[^\n]+')
local sub = string.sub
for first = 1, count, 500 do
  local many = math.min(500, count - first + 1)
  local sizes = {struct.unpack('<' .. string.rep('I4', many), message, lengths + 4 * first - 3)}
  local fields = {}
  for place = 1, many do
    local size = sizes[place] + 16
    fields[2 * place - 1] = next_name()
    fields[2 * place] = sub(message, row, row + size - 1)
    row = row + size
  end
  redis.call('HSET', KEYS[3], unpack(fields))
end
return 'OK'
