-- Clear a waiting flag at the start of its job, before the work (RACES 10, 26).
--
-- Keys    <p>:waiting:<digest> id
-- ARGV    prefix, digest, id
-- Result  1 if the flag was this job's, else 0
local flag = ARGV[1] .. ':waiting:' .. ARGV[2]
if redis.call('GET', flag) == ARGV[3] then return redis.call('DEL', flag) end
return 0
