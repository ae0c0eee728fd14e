#!lua flags=allow-oom
-- One call per worker process every two seconds: renew its claims, rescue those of dead workers, and tell
-- when the next job of each lane is due (the fallback for a bell that nobody rang). Two commands when idle.
--
-- Keys    as in claim.lua, and <p>:<lane>:totals hash
-- ARGV    prefix, owner, claim's life ms, owner's mark's life ms, 1 to rescue, life of a rescue count ms,
--         rescues that make a suspect, then per lane: its name, number of ids, the ids this process holds
-- Result  now ms, then per lane {due ms of its next job ('' = none), {lost ids},
--         {rescued id, its rescues, ...}, number of parked jobs}
local prefix, owner, life_ms, mark_ms = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local rescue, count_ms, suspect_from = ARGV[5] == '1', ARGV[6], tonumber(ARGV[7])

local lanes, keys = {}, {}
local at = 8
while at <= #ARGV do
  local lane = {queue = prefix .. ':' .. ARGV[at], ids = {}}
  for i = 1, tonumber(ARGV[at + 1]) do lane.ids[i] = ARGV[at + 1 + i] end
  at = at + 2 + #lane.ids
  lanes[#lanes + 1] = lane
  keys[#keys + 1] = lane.queue
  keys[#keys + 1] = lane.queue .. ':running'
end

local reply = {0}
if redis.call('EXISTS', unpack(keys)) == 0 then
  for i = 1, #lanes do reply[i + 1] = {'', {}, {}, 0} end
  return reply
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
reply[1] = now

local function renew(lane)
  local lost = {}
  for _, id in ipairs(lane.ids) do
    local mark = redis.call('GET', 'arq:in-progress:' .. id)
    if mark == owner then
      redis.call('ZADD', lane.queue .. ':running', 'XX', now + life_ms, id)
      redis.call('PEXPIRE', 'arq:in-progress:' .. id, mark_ms)
    elseif mark or redis.call('ZSCORE', lane.queue, id) then
      lost[#lost + 1] = id -- another worker has it, or will
    end
  end
  return lost
end

local function rescue_expired(lane)
  local expired = redis.call('ZRANGEBYSCORE', lane.queue .. ':running', '-inf', now, 'LIMIT', 0, 500)
  local rescued, jobs, has_suspect = {}, {}, {}
  for i, id in ipairs(expired) do
    local found = redis.call('MGET', 'arq:in-progress:' .. id, prefix .. ':rescues:' .. id)
    jobs[i] = {id = id, owner = found[1] or '', rescues = tonumber(found[2] or 0)}
    if jobs[i].rescues >= suspect_from then has_suspect[jobs[i].owner] = true end
  end
  for _, job in ipairs(jobs) do
    -- Where a suspect ran, it alone is blamed: its neighbours are not punished.
    if job.rescues >= suspect_from or not has_suspect[job.owner] then
      job.rescues = redis.call('INCR', prefix .. ':rescues:' .. job.id)
      redis.call('PEXPIRE', prefix .. ':rescues:' .. job.id, count_ms)
    end
    redis.call('ZREM', lane.queue .. ':running', job.id)
    redis.call('DEL', 'arq:in-progress:' .. job.id)
    redis.call('ZADD', lane.queue, now, job.id)
    redis.call('HINCRBY', lane.queue .. ':totals', 'rescued', 1)
    local payload = redis.call('GET', 'arq:job:' .. job.id)
    local digest = payload and string.match(payload, '^{"flag":"(%x+)"')
    if digest then
      -- It waits again; its flag holds its id, so it cannot outlive it (RACES 40).
      redis.call('SET', prefix .. ':waiting:' .. digest, job.id, 'NX', 'PX', mark_ms)
      if redis.call('GET', prefix .. ':begun:' .. digest) == job.id then
        redis.call('DEL', prefix .. ':begun:' .. digest)
      end
    end
    rescued[#rescued + 1] = job.id
    rescued[#rescued + 1] = job.rescues
  end
  return rescued
end

for i, lane in ipairs(lanes) do
  local lost = renew(lane)
  local rescued = {}
  if rescue then rescued = rescue_expired(lane) end
  local next = redis.call('ZRANGE', lane.queue, 0, 0, 'WITHSCORES')
  if #rescued > 0 and redis.call('EXISTS', lane.queue .. ':bell') == 0 then
    redis.call('LPUSH', lane.queue .. ':bell', '1')
  end
  local parked = 0
  if next[2] then parked = redis.call('ZCARD', lane.queue .. ':parked') end
  reply[i + 1] = {next[2] or '', lost, rescued, parked}
end
return reply
