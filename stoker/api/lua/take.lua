-- Takes one from a caller's bucket, refilled steadily by the server's clock.
--
-- Keys    <p>:rate:<what>:<digest of the caller> hash {left, at ms}; lives until it would be full again
-- ARGV    prefix, what:digest, tokens a second, the most that a bucket holds
-- Result  0 if there was one, else ms until there will be one
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local key = ARGV[1] .. ':rate:' .. ARGV[2]
local per_ms, most = tonumber(ARGV[3]) / 1000, tonumber(ARGV[4])
local found = redis.call('HMGET', key, 'left', 'at')
local left, at = tonumber(found[1] or most), tonumber(found[2] or now)
left = math.min(most, left + math.max(0, now - at) * per_ms)
local wait = 0
if left >= 1 then
  left = left - 1
else
  wait = math.ceil((1 - left) / per_ms)
end
redis.call('HSET', key, 'left', tostring(left), 'at', now)
redis.call('PEXPIRE', key, math.ceil((most - left) / per_ms) + 1000)
return wait
