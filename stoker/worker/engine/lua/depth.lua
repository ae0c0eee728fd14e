-- Counts the jobs of each lane at one moment. Empty lanes cost little, because this also runs while all is idle.
-- Running and parked jobs are in the lane's zset too, due in ten years; those that wait behind the first of their
-- fair key are ready, and in the set twenty years later than they were due.
--
-- Keys    <p>:<lane> zset, :running zset, :parked zset, :totals hash, :paused; <p>:concurrency hash zset -> slots
-- ARGV    prefix, then the names of the lanes' zsets
-- Result  now ms, then per lane {ready, all queued, running, parked, due ms of the oldest ready job or '',
--         paused 0/1, slots set by an operator or '', {field, value, ...}}
local prefix = ARGV[1]
local FAR_MS = 10 * 365 * 86400000
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local slots, pauses, sets, reply = {}, {}, {}, {now}
local set = redis.call('HGETALL', prefix .. ':concurrency')
for i = 1, #set, 2 do slots[set[i]] = set[i + 1] end
for i = 2, #ARGV do
  local queue = ARGV[i]
  pauses[i - 1] = queue .. ':paused'
  sets[#sets + 1] = queue
  sets[#sets + 1] = queue .. ':running'
end
local paused = redis.call('MGET', unpack(pauses))
local holding = redis.call('EXISTS', unpack(sets)) > 0

for i = 2, #ARGV do
  local queue = ARGV[i]
  local ready, queued, running, parked, oldest = 0, 0, 0, 0, ''
  if holding then
    queued, running = redis.call('ZCARD', queue), redis.call('ZCARD', queue .. ':running')
  end
  if queued > 0 then
    ready, parked = redis.call('ZCOUNT', queue, '-inf', now), redis.call('ZCARD', queue .. ':parked')
    if ready > 0 then oldest = redis.call('ZRANGE', queue, 0, 0, 'WITHSCORES')[2] end
    local behind = redis.call('ZRANGEBYSCORE', queue, now + FAR_MS * 1.5, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
    if behind[2] then
      ready = ready + redis.call('ZCOUNT', queue, now + FAR_MS * 1.5, '+inf')
      local due = string.format('%.0f', behind[2] - 2 * FAR_MS)
      if oldest == '' or tonumber(due) < tonumber(oldest) then oldest = due end
    end
  end
  reply[i] = {
    ready, queued, running, parked, oldest,
    paused[i - 1] and 1 or 0, slots[queue] or '', redis.call('HGETALL', queue .. ':totals'),
  }
end
return reply
