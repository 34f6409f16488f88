-- Puts a member in if it is gone.
-- KEYS: the user's window. ARGV: member, window in microseconds.
-- Answers: whether it was gone, the time.
local time = redis.call('TIME')
local now = string.format('%.0f', tonumber(time[1]) * 1000000 + tonumber(time[2]))
-- What has left the window by now is no longer there, though nobody has trimmed it yet.
local since = string.format('%.0f', tonumber(now) - tonumber(ARGV[2]))
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', since)
local added = redis.call('ZADD', KEYS[1], 'NX', now, ARGV[1])
if added == 1 then
  redis.call('PEXPIRE', KEYS[1], math.ceil(tonumber(ARGV[2]) / 1000) + 1000)
end
return { added, tonumber(now) }
