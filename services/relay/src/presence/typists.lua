-- Who writes in a chat now. What a pod has left behind that died is over by its time.
-- KEYS: as in typing.lua. Answers: user, name, for how many milliseconds yet; and so on.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local all, answer = redis.call('HGETALL', KEYS[1]), {}
for at = 1, #all, 2 do
  local untill, name = string.match(all[at + 1], '^(%d+) (.*)$')
  if untill and tonumber(untill) > now then
    answer[#answer + 1] = all[at]
    answer[#answer + 1] = name
    answer[#answer + 1] = string.format('%.0f', untill - now)
  end
end
return answer
