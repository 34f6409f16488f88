-- A gateway pod lives. One command, however many users it has.
-- KEYS: the gateways that live, each until when; the set of this one's users. ARGV: the pod, the life in milliseconds.
-- Answers: whether the set is still there.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return redis.call('PEXPIRE', KEYS[2], ARGV[2])
