-- Puts a member in if it is gone.
-- KEYS: the user's window, as in charge.lua. ARGV: member, window in microseconds.
-- Answers: whether it was gone, the time.
local HEAD, ENTRY, SCORE = 16, 24, 8
local key, member, window = KEYS[1], ARGV[1], tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local kept = redis.call('GET', key) or struct.pack('<dd', now, 0)
local _, due = struct.unpack('<dd', kept)
local at = string.find(kept, member, HEAD + 1, true)
while at and (at - HEAD) % ENTRY ~= SCORE + 1 do
  at = string.find(kept, member, at + 1, true)
end
if at then
  -- What has left the window by now is no longer there, though nobody has trimmed it yet.
  if struct.unpack('<d', kept, at - SCORE) > now - window then
    return { 0, now }
  end
  kept = string.sub(kept, 1, at - SCORE - 1) .. string.sub(kept, at - SCORE + ENTRY)
end
local life = math.ceil(math.max(window, due - now) / 1000) + 1000
redis.call('SET', key, kept .. struct.pack('<d', now) .. member, 'PX', life)
return { 1, now }
