-- What lies in each lane, counted at one moment.
--
-- Keys    <p>:<lane> zset, :running zset, :parked zset, :totals hash, :paused; <p>:concurrency hash
-- ARGV    prefix, then the lanes
-- Result  now ms, then per lane {ready, all queued, running, parked, due ms of the oldest ready job or '',
--         paused 0/1, slots set by an operator or '', {field, value, ...}}
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local reply = {now}
for i = 2, #ARGV do
  local queue = ARGV[1] .. ':' .. ARGV[i]
  local ready = redis.call('ZCOUNT', queue, '-inf', now)
  local oldest = redis.call('ZRANGE', queue, 0, 0, 'WITHSCORES')
  reply[i] = {
    ready, redis.call('ZCARD', queue), redis.call('ZCARD', queue .. ':running'),
    redis.call('ZCARD', queue .. ':parked'), ready > 0 and oldest[2] or '',
    redis.call('EXISTS', queue .. ':paused'),
    redis.call('HGET', ARGV[1] .. ':concurrency', ARGV[i]) or '', redis.call('HGETALL', queue .. ':totals'),
  }
end
return reply
