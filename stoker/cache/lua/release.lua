-- Give a lease back without storing anything.
--
-- KEYS  1 lease
-- ARGV  1 the lease's whole value: stamps and token
-- Returns 1 if it was ours
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('UNLINK', KEYS[1])
end
return 0
