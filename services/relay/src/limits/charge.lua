-- One attempt to send, decided by this server's clock in microseconds, which a double holds exactly.
-- KEYS: the user's window (member -> when it came); the user's account: when the attempts will have been worked off, and
--       its birth, by which a window that was lost and begun anew is told from the one before.
-- ARGV: member, limit, window, spacing and burst of attempts, the account's birth and a member that have to be there, and
--       when that came (or '', '', 0); then of each member to be merged: itself, when it came (0 if no server said so), its age.
-- Answers: what was decided, the time, the account's birth, how many are in the window, how long until a place comes free.
local LOST, ADDED, REPLAY, LIMITED, ATTEMPTS = 0, 1, 2, 3, 4
local messages, account = KEYS[1], KEYS[2]
local member = ARGV[1]
local limit, window = tonumber(ARGV[2]), tonumber(ARGV[3])
local spacing, burst = tonumber(ARGV[4]), tonumber(ARGV[5])
local known_birth, known, known_score = ARGV[6], ARGV[7], tonumber(ARGV[8])

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local since = now - window

local function text(number)
  return string.format('%.0f', number)
end

local due, birth = string.match(redis.call('GET', account) or '', '^(%d+) (%d+)$')
birth = birth or text(now)

-- Attempts first (GCRA): a flood is to cost as little as possible. A clock that was set back must not lock anybody out.
due = math.min(tonumber(due or 0), now + burst)
due = math.max(due, now) + spacing
if due - now > burst then
  return { ATTEMPTS, now, 0, 0, due - now - burst }
end

redis.call('ZREMRANGEBYSCORE', messages, '-inf', text(since))
if known ~= '' then
  local there = known_score <= since or redis.call('ZSCORE', messages, known)
  if known_birth ~= birth or not there then
    return { LOST, now, 0, 0, 0 }
  end
end
-- Expiry has another grain than TIME: the second more keeps the account as long as any member, and a member long enough.
local life = math.ceil(math.max(window, due - now) / 1000) + 1000
redis.call('SET', account, text(due) .. ' ' .. birth, 'PX', life)

local changed = false
for i = 9, #ARGV, 3 do
  local score, estimate = tonumber(ARGV[i + 1]), now - tonumber(ARGV[i + 2])
  -- Said by a server with another clock, or by none.
  if math.abs(score - estimate) > 1000000 then
    score = estimate
  end
  if score > since then
    redis.call('ZADD', messages, 'NX', text(score), ARGV[i])
    changed = true
  end
end

local count = redis.call('ZCARD', messages)
local decision
if redis.call('ZSCORE', messages, member) then
  decision = REPLAY
elseif count < limit then
  redis.call('ZADD', messages, text(now), member)
  count = count + 1
  changed = true
  decision = ADDED
else
  decision = LIMITED
end
if changed then
  redis.call('PEXPIRE', messages, life)
end

-- After a merge there may be more than the limit: then as many have to leave first.
local rank = math.max(count - limit, 0)
local next_out = redis.call('ZRANGE', messages, rank, rank, 'WITHSCORES')
return { decision, now, tonumber(birth), count, tonumber(next_out[2]) + window - now }
