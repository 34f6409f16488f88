-- Attempts to send, each decided for itself, one after the other, by this server's clock in microseconds, which a double
-- holds exactly. Together, because a call costs as much as a decision.
-- KEYS: of each attempt the user's window: one string, because reading and writing a few hundred bytes costs less than half a
--       dozen commands on a sorted set. It begins with its birth, by which a window that was lost and begun anew is told from
--       the one before, and the time when all attempts will have been worked off; then come its entries, the oldest first:
--       when it came, and the member's 16 bytes. They may lie on one server only: a cluster would want a call for each slot.
-- ARGV: of each attempt, packed: member, limit, window, spacing and burst of attempts; the birth that the window has to have
--       (or -1), a member that has to be in it, and when that came; then of each member to be merged: itself, when it came (-1 if
--       no server said so), its age.
-- Answers, packed: the time; then of each attempt what was decided, the window's birth, how many are in it, how long until a
--       place comes free.
local LOST, ADDED, REPLAY, LIMITED, ATTEMPTS, FAILED = 0, 1, 2, 3, 4, 5
local HEAD, ENTRY, SCORE = 16, 24, 8
local ASKED, ASKED_SIZE = '<c16dddddc16d', 80
local TOLD, TOLD_SIZE = '<c16dd', 32
local RULING = '<dddd'
local pack, unpack, sub, find = struct.pack, struct.unpack, string.sub, string.find

local function holds(entries, wanted)
  local at = find(entries, wanted, 1, true)
  while at and at % ENTRY ~= SCORE + 1 do
    at = find(entries, wanted, at + 1, true)
  end
  return at ~= nil
end

-- Puts what a pod remembers among the entries.
local function merged(entries, asked, since, now)
  local all = {}
  for at = 1, #entries, ENTRY do
    all[#all + 1] = sub(entries, at, at + ENTRY - 1)
  end
  for at = ASKED_SIZE + 1, #asked, TOLD_SIZE do
    local member, score, age = unpack(TOLD, asked, at)
    local estimate = now - age
    -- Said by a server with another clock, or by none.
    if math.abs(score - estimate) > 1000000 then
      score = estimate
    end
    if score > since and not holds(entries, member) then
      all[#all + 1] = pack('<d', score) .. member
    end
  end
  table.sort(all, function(one, other)
    return (unpack('<d', one)) < (unpack('<d', other))
  end)
  return table.concat(all)
end

local function decide(key, asked, now)
  local member, limit, window, spacing, burst, expected, newest, newest_at = unpack(ASKED, asked)
  local since = now - window
  local kept = redis.call('GET', key)
  local birth, due = now, 0
  if kept then
    birth, due = unpack('<dd', kept)
  end

  -- Attempts first (GCRA): a flood is to cost as little as possible. A clock that was set back must not lock anybody out.
  due = math.max(math.min(due, now + burst), now) + spacing
  if due - now > burst then
    return pack(RULING, ATTEMPTS, 0, 0, due - now - burst)
  end
  -- Entries that have left the window stand in front.
  local first = HEAD + 1
  while kept and first < #kept and unpack('<d', kept, first) <= since do
    first = first + ENTRY
  end
  local entries = kept and sub(kept, first) or ''

  if expected >= 0 then
    local there = newest_at <= since or holds(entries, newest)
    if expected ~= birth or not there then
      return pack(RULING, LOST, 0, 0, 0)
    end
  end
  if #asked > ASKED_SIZE then
    entries = merged(entries, asked, since, now)
  end

  local count = #entries / ENTRY
  local decision
  if holds(entries, member) then
    decision = REPLAY
  elseif count < limit then
    entries = entries .. pack('<d', now) .. member
    count = count + 1
    decision = ADDED
  else
    decision = LIMITED
  end
  -- Expiry has another grain than TIME: the second more keeps every entry long enough.
  local life = math.ceil(math.max(window, due - now) / 1000) + 1000
  redis.call('SET', key, pack('<dd', birth, due) .. entries, 'PX', life)

  -- After a merge there may be more than the limit: then as many have to leave first.
  local next_out = unpack('<d', entries, math.max(count - limit, 0) * ENTRY + 1)
  return pack(RULING, decision, birth, count, next_out + window - now)
end

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local answers = { pack('<d', now) }
for i = 1, #KEYS do
  -- One that cannot be decided, because something else stands at its key, fails alone.
  local fine, ruling = pcall(decide, KEYS[i], ARGV[i], now)
  answers[i + 1] = fine and ruling or pack(RULING, FAILED, 0, 0, 0)
end
return table.concat(answers)
