-- Store an entry if both stamps are still those that were taken before the load; release the lease.
--
-- KEYS  1 soft stamp  2 hard stamp  3 entry  4 lease
-- ARGV  1 soft stamp as taken  2 hard stamp as taken  3 envelope  4 life of the entry in ms
--       5 life of the stamps in ms, longer than the entry's  6 lease token
-- Returns 1 if stored, 0 if superseded
if redis.call('GET', KEYS[4]) == ARGV[1] .. ARGV[2] .. ARGV[6] then
  redis.call('UNLINK', KEYS[4])
end
if redis.call('GET', KEYS[1]) ~= ARGV[1] or redis.call('GET', KEYS[2]) ~= ARGV[2] then
  return 0
end
redis.call('SET', KEYS[3], ARGV[3], 'PX', ARGV[4])
for index = 1, 2 do
  if redis.call('PTTL', KEYS[index]) < tonumber(ARGV[5]) then
    redis.call('PEXPIRE', KEYS[index], ARGV[5])
  end
end
return 1
