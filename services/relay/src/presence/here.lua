-- Who has come to a gateway pod, and who has gone.
-- KEYS: the set of the pod's users. ARGV: its life in milliseconds; whether to begin anew with those who have come; how many
--       have come; they; then those who have gone.
-- Answers: whether the set was there before.
local key, life, come = KEYS[1], ARGV[1], tonumber(ARGV[3])
local was_there = redis.call('EXISTS', key)
if ARGV[2] == '1' then
  redis.call('DEL', key)
end
-- A pod without users is there all the same: nobody is called so.
redis.call('SADD', key, '')
if come > 0 then
  redis.call('SADD', key, unpack(ARGV, 4, 3 + come))
end
if #ARGV > 3 + come then
  redis.call('SREM', key, unpack(ARGV, 4 + come))
end
redis.call('PEXPIRE', key, life)
return was_there
