-- Takes a member out, unless somebody has put it in anew since.
-- KEYS: the user's window, as in charge.lua. ARGV: member, when it came.
local HEAD, ENTRY = 16, 24
local kept = redis.call('GET', KEYS[1])
local entry = struct.pack('<d', tonumber(ARGV[2])) .. ARGV[1]
local at = kept and string.find(kept, entry, HEAD + 1, true)
while at and (at - HEAD) % ENTRY ~= 1 do
  at = string.find(kept, entry, at + 1, true)
end
if not at then
  return 0
end
redis.call('SET', KEYS[1], string.sub(kept, 1, at - 1) .. string.sub(kept, at + ENTRY), 'KEEPTTL')
return 1
