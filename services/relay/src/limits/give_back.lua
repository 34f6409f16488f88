-- Takes a member out, unless somebody has put it in anew since.
-- KEYS: the user's window. ARGV: member, when it came.
local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if score and tonumber(score) == tonumber(ARGV[2]) then
  return redis.call('ZREM', KEYS[1], ARGV[1])
end
return 0
