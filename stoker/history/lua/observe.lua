-- Adds what one worker saw of its jobs to what all workers saw.
--
-- Keys    <p>:observed hash field -> count; lives 90 days past the last job
-- ARGV    prefix, life ms, then pairs: field, how much to add
local key = ARGV[1] .. ':observed'
for i = 3, #ARGV, 2 do
  redis.call('HINCRBY', key, ARGV[i], ARGV[i + 1])
end
redis.call('PEXPIRE', key, ARGV[2])
return 1
