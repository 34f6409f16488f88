-- One attempt to send, decided by this server's clock in microseconds, which a double holds exactly.
-- KEYS: the user's window: one string, because reading and writing a few hundred bytes costs less than half a dozen commands
--       on a sorted set. It begins with its birth, by which a window that was lost and begun anew is told from the one
--       before, and the time when all attempts will have been worked off; then come its entries, the oldest first: when it
--       came, and the member's 16 bytes.
-- ARGV: member, limit, window, spacing and burst of attempts; the birth that the window has to have, a member that has to
--       be in it, and when that came (or '', '', 0); then of each member to be merged: itself, when it came (0 if no server said so), its age.
-- Answers: what was decided, the time, the window's birth, how many are in it, how long until a place comes free.
local LOST, ADDED, REPLAY, LIMITED, ATTEMPTS = 0, 1, 2, 3, 4
local HEAD, ENTRY, SCORE = 16, 24, 8
local key, member = KEYS[1], ARGV[1]
local limit, window = tonumber(ARGV[2]), tonumber(ARGV[3])
local spacing, burst = tonumber(ARGV[4]), tonumber(ARGV[5])

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local since = now - window

local kept = redis.call('GET', key)
local birth, due = now, 0
if kept then
  birth, due = struct.unpack('<dd', kept)
end

-- Attempts first (GCRA): a flood is to cost as little as possible. A clock that was set back must not lock anybody out.
due = math.max(math.min(due, now + burst), now) + spacing
if due - now > burst then
  return { ATTEMPTS, now, 0, 0, due - now - burst }
end
-- Entries that have left the window stand in front.
local first = HEAD + 1
while kept and first < #kept and struct.unpack('<d', kept, first) <= since do
  first = first + ENTRY
end
local entries = kept and string.sub(kept, first) or ''

local function holds(wanted)
  local at = string.find(entries, wanted, 1, true)
  while at and at % ENTRY ~= SCORE + 1 do
    at = string.find(entries, wanted, at + 1, true)
  end
  return at ~= nil
end

if ARGV[6] ~= '' then
  local there = tonumber(ARGV[8]) <= since or holds(ARGV[7])
  if tonumber(ARGV[6]) ~= birth or not there then
    return { LOST, now, 0, 0, 0 }
  end
end

if #ARGV > 8 then
  local all = {}
  for at = 1, #entries, ENTRY do
    all[#all + 1] = string.sub(entries, at, at + ENTRY - 1)
  end
  for i = 9, #ARGV, 3 do
    local score, estimate = tonumber(ARGV[i + 1]), now - tonumber(ARGV[i + 2])
    -- Said by a server with another clock, or by none.
    if math.abs(score - estimate) > 1000000 then
      score = estimate
    end
    if score > since and not holds(ARGV[i]) then
      all[#all + 1] = struct.pack('<d', score) .. ARGV[i]
    end
  end
  table.sort(all, function(one, other)
    return (struct.unpack('<d', one)) < (struct.unpack('<d', other))
  end)
  entries = table.concat(all)
end

local count = #entries / ENTRY
local decision
if holds(member) then
  decision = REPLAY
elseif count < limit then
  entries = entries .. struct.pack('<d', now) .. member
  count = count + 1
  decision = ADDED
else
  decision = LIMITED
end
-- Expiry has another grain than TIME: the second more keeps every entry long enough.
local life = math.ceil(math.max(window, due - now) / 1000) + 1000
redis.call('SET', key, struct.pack('<dd', birth, due) .. entries, 'PX', life)

-- After a merge there may be more than the limit: then as many have to leave first.
local next_out = struct.unpack('<d', entries, math.max(count - limit, 0) * ENTRY + 1)
return { decision, now, birth, count, next_out + window - now }
