-- Somebody writes, for those who come to the chat meanwhile.
-- KEYS: who writes in a chat: by user until when, in milliseconds of this server, and the name.
-- ARGV: the user, the name, for how many milliseconds, how many there may be.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local most = tonumber(ARGV[4])
if redis.call('HLEN', KEYS[1]) >= most and redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then
  -- What a pod has left behind that died does not count.
  local all = redis.call('HGETALL', KEYS[1])
  for at = 1, #all, 2 do
    if tonumber(string.match(all[at + 1], '^%d+')) <= now then
      redis.call('HDEL', KEYS[1], all[at])
    end
  end
  if redis.call('HLEN', KEYS[1]) >= most then
    return 0
  end
end
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', now + ARGV[3]) .. ' ' .. ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
