-- Which of those who have come to a gateway pod were nowhere, and which of those who have gone from it are nowhere now. Both at
-- once, so that whoever goes from one pod to another is in between neither.
-- KEYS: those who are somewhere; whether that was begun lately; the gateways that live. ARGV: what the names of their sets begin
--       with; the lives of the first two in milliseconds; whether those who have come are everybody at the pod; how many have
--       come; they; then those who have gone.
-- Answers: those who came; those who went.
local there, lately, come = KEYS[1], KEYS[2], tonumber(ARGV[5])
if redis.call('EXISTS', there) == 0 then
  redis.call('SET', lately, '', 'PX', ARGV[3])
end
-- Nobody is called so: it is there without anybody, too.
redis.call('SADD', there, '')
redis.call('PEXPIRE', there, ARGV[2])
-- Everybody, told to a Redis that has lost them: they did not come just now.
local known = ARGV[4] == '1' and redis.call('EXISTS', lately) == 1
local came, went = {}, {}
for place = 6, 5 + come do
  if redis.call('SADD', there, ARGV[place]) == 1 and not known then
    came[#came + 1] = ARGV[place]
  end
end
local pods = redis.call('ZRANGE', KEYS[3], 0, -1)
for place = 6 + come, #ARGV do
  local user, somewhere = ARGV[place], false
  for _, pod in ipairs(pods) do
    if redis.call('SISMEMBER', ARGV[1] .. pod, user) == 1 then
      somewhere = true
      break
    end
  end
  if not somewhere and redis.call('SREM', there, user) == 1 then
    went[#went + 1] = user
  end
end
return {came, went}
