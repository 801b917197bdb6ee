-- KEYS[1] the key; ARGV[1] IFEQ, IFNE, IFDEQ or IFDNE; ARGV[2] its operand; ARGV[3] DEL, SET or SETGET;
-- ARGV[4...] what follows the key in the SET.
local key, condition, operand, action = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local current = redis.pcall('GET', key)
if type(current) == 'table' then return current end

local met
if condition == 'IFEQ' then met = current == operand
elseif condition == 'IFNE' then met = current ~= operand
elseif condition == 'IFDEQ' then met = current and digest(current) == operand
else met = not current or digest(current) ~= operand end

if action == 'DEL' then
  if current and met then return redis.call('DEL', key) end
  return 0
end
local reply = false
if met then
  reply = redis.pcall('SET', key, unpack(ARGV, 4))
  if reply.err then return reply end
end
if action == 'SETGET' then return current end
return reply
