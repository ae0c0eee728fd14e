#!lua flags=allow-oom
-- One call per worker process every two seconds: renew its claims, rescue those of dead workers, and tell
-- when the next job of each lane is due (the fallback for a lost ring). Not called while idle.
--
-- Keys    as in claim.lua, and <p>:<lane>:totals hash; <p>:concurrency hash zset -> slots;
--         <p>:cancelling set of ids; arq:abort zset; <p>:clock ms, the latest time at which a score was written;
--         <p>:blamed:<id> set of the owners whose deaths its rescues count; of fair keys as in claim.lua;
--         of batches as in prelude.lua
-- ARGV    prefix, owner, claim's life ms, owner's mark's life ms, 1 to rescue, life of a rescue count ms,
--         then per lane: the name of its zset, number of ids, the ids this process holds
-- Result  now ms, then per lane {due ms of its next job ('' = none), {lost ids},
--         {rescued id, its rescues, ...}, number of parked jobs, slots set by an operator ('' = none),
--         {ids held or rescued that are to be cancelled}}
local owner, life_ms, mark_ms = ARGV[2], tonumber(ARGV[3]), ARGV[4]
local rescue, count_ms = ARGV[5] == '1', ARGV[6]

local CLOCK_SLACK_MS = 1000
local CLOCK_MOST_MS = 10 * 365 * 86400000
local ABORTS = 1000
local KEYS_SEEN = 100
local WAITING_SEEN = 50
local LONGEST_LINE_SEEN = 1000
local BATCHES_SEEN = 10
local MOST_GONE = 100
local MOST = 1000000

local lanes = {}
local at = 7
while at <= #ARGV do
  local lane = {queue = ARGV[at], ids = {}, cancel = {}}
  for i = 1, tonumber(ARGV[at + 1]) do lane.ids[i] = ARGV[at + 1 + i] end
  at = at + 2 + #lane.ids
  lanes[#lanes + 1] = lane
end

local reply = {now}
local cancelling = redis.call('EXISTS', prefix .. ':cancelling') == 1
local aborting = redis.call('EXISTS', 'arq:abort') == 1

local function mind_the_clock()
  -- Scores are moments of this server's clock. Where it was set back, what is due would wait for it to catch up,
  -- dead workers' claims would not expire, and a lane's rate would be spent: all move back with it.
  local back_ms = (tonumber(get(prefix .. ':clock') or '') or 0) - now
  redis.call('SET', prefix .. ':clock', string.format('%.0f', now), 'PX', mark_ms)
  -- No clock is ten years ahead, and no comparison with NaN is true: somebody else wrote such a time.
  if not (back_ms > CLOCK_SLACK_MS and back_ms < CLOCK_MOST_MS) then return end
  for _, lane in ipairs(lanes) do
    for _, set in ipairs({lane.queue, lane.queue .. ':running'}) do
      local found = redis.call('ZRANGE', set, 0, -1, 'WITHSCORES')
      for i = 1, #found, 2 do redis.call('ZADD', set, found[i + 1] - back_ms, found[i]) end
    end
    redis.call('DEL', lane.queue .. ':rate')
    for _, key in ipairs(redis.call('ZRANGE', lane.queue .. ':fair', 0, -1)) do
      if is_rated(key) then redis.call('DEL', lane.queue .. ':fair_rate:' .. key) end
    end
  end
end

local function obey_wish(lane, id)
  if cancelling and redis.call('SISMEMBER', prefix .. ':cancelling', id) == 1
      or aborting and redis.call('ZSCORE', 'arq:abort', id) then
    lane.cancel[#lane.cancel + 1] = id
  end
end

local function forget_aborts()
  -- arq's clients add to this set and never remove: entries of jobs that are gone would stay for ever.
  for _, id in ipairs(redis.call('ZRANGE', 'arq:abort', 0, ABORTS - 1)) do
    if redis.call('EXISTS', 'arq:job:' .. id) == 0 then redis.call('ZREM', 'arq:abort', id) end
  end
end

local function rescues_of(id)
  local count = tonumber(get(prefix .. ':rescues:' .. id) or '') or 0
  return math.floor(math.max(0, math.min(count, MOST))) -- of NaN: 0
end

local function count_rescues(id, count)
  redis.call('SET', prefix .. ':rescues:' .. id, string.format('%.0f', count), 'PX', count_ms)
end

local function blame(id, dead)
  local key = prefix .. ':blamed:' .. id
  count_rescues(id, rescues_of(id) + 1)
  pcall(redis.call, 'SADD', key, dead or '')
  redis.call('PEXPIRE', key, count_ms)
end

local function acquit(id)
  -- This process was only late with its renewal and counted as dead: the job did not kill it.
  local _, removed = pcall(redis.call, 'SREM', prefix .. ':blamed:' .. id, owner)
  if removed == 1 then count_rescues(id, rescues_of(id) - 1) end
end

local function see_to_lines(queue)
  -- A line whose first job was taken or removed by a release that has no lines, or whose cap's count was wrong, goes
  -- on: those that were seen longest ago are checked. Where the cap holds, the claim puts the job back.
  for _, key in ipairs(redis.call('ZRANGE', queue .. ':fair', 0, KEYS_SEEN - 1)) do
    redis.call('ZADD', queue .. ':fair', now, key)
    if call_next(queue, key) then ring(queue) end
  end
end

local function join_again(queue, key, id, score)
  local since = math.min(score - 2 * FAR_MS, now)
  local line, entry = queue .. ':fair:' .. key, id .. ' ' .. string.format('%.0f', since)
  if (own('LLEN', line) or 0) > LONGEST_LINE_SEEN or redis.call('LPOS', line, entry) then return end
  redis.call('RPUSH', line, entry)
  redis.call('ZADD', queue .. ':fair', 'NX', now, key)
  redis.call('ZADD', queue, since + 2 * FAR_MS, id) -- so that the next round finds this entry
  if call_next(queue, key) then ring(queue) end
end

local function see_to_waiting(queue)
  -- Somebody may have deleted a line, and nobody calls a job that stands in none: it joins its line again. A few of
  -- those that wait are checked in each round, chosen by the microseconds of the time. In a long line a check takes
  -- too long: its jobs are checked when it has become shorter.
  local waiting = redis.call('ZCOUNT', queue, now + BEHIND_MS, '+inf')
  local from = redis.call('ZCARD', queue) - waiting + time[2] % math.max(1, waiting - WAITING_SEEN + 1)
  local found = redis.call('ZRANGE', queue, from, from + WAITING_SEEN - 1, 'WITHSCORES')
  for i = 1, #found, 2 do
    local payload = get('arq:job:' .. found[i])
    local key = payload and fair_key(payload)
    if key then
      join_again(queue, key, found[i], tonumber(found[i + 1]))
    else
      redis.call('ZADD', queue, now, found[i]) -- its payload has expired: a dead letter
    end
  end
end

local function renew(lane)
  local lost = {}
  for _, id in ipairs(lane.ids) do
    local mark = get('arq:in-progress:' .. id)
    if mark == owner then
      redis.call('ZADD', lane.queue .. ':running', 'XX', now + life_ms, id)
      redis.call('PEXPIRE', 'arq:in-progress:' .. id, mark_ms)
      obey_wish(lane, id)
    elseif mark or redis.call('ZSCORE', lane.queue, id)
        and not redis.call('ZSCORE', lane.queue .. ':running', id) then
      lost[#lost + 1] = id -- another worker has it, or will
      acquit(id)
    end
  end
  return lost
end

local function is_blamed(id, dead)
  -- If a suspect ran in this process, in any lane, it alone is blamed, not the jobs beside it.
  local suspect = dead and get(prefix .. ':suspect:' .. dead)
  if suspect == id then
    -- Kept for neighbours whose claims expire a little later; not for ever, should the owner be alive after all.
    redis.call('PEXPIRE', prefix .. ':suspect:' .. dead, 2 * life_ms)
  end
  return not suspect or suspect == id
end

local function rescue_expired(lane)
  local expired = redis.call('ZRANGEBYSCORE', lane.queue .. ':running', '-inf', now, 'LIMIT', 0, 500)
  local rescued = {}
  if #expired == 0 then return rescued end
  -- They were first before, so they are first again, ahead of any backlog.
  local first = tonumber(redis.call('ZRANGE', lane.queue, 0, 0, 'WITHSCORES')[2] or now)
  for _, id in ipairs(expired) do
    local dead = get('arq:in-progress:' .. id)
    if is_blamed(id, dead) then blame(id, dead) end
    redis.call('ZREM', lane.queue .. ':running', id)
    redis.call('DEL', 'arq:in-progress:' .. id)
    redis.call('ZADD', lane.queue, math.min(now, first), id)
    count(lane.queue, 'rescued')
    obey_wish(lane, id)
    local payload = get('arq:job:' .. id)
    local digest = payload and string.match(payload, '^{"flag":"(%x+)"')
    if digest then
      -- It waits again; its flag holds its id, so it cannot outlive it (RACES 40).
      redis.call('SET', prefix .. ':waiting:' .. digest, id, 'NX', 'PX', mark_ms)
      if get(prefix .. ':begun:' .. digest) == id then
        redis.call('DEL', prefix .. ':begun:' .. digest)
      end
    end
    if payload and fair_key(payload) then
      count_rescues(id, rescues_of(id)) -- a count, even of none, tells the claim that it has had its turn
    end
    rescued[#rescued + 1] = id
    rescued[#rescued + 1] = rescues_of(id)
  end
  return rescued
end

local function see_to_batches()
  -- A member that a stock arq worker or an older release ran has ended without being counted: nothing is left of it.
  local open = redis.pcall('ZRANGE', prefix .. ':batches', 0, BATCHES_SEEN - 1)
  for _, batch in ipairs(open) do
    local key = prefix .. ':batch:' .. batch
    local total, added, life_ms = unpack(redis.pcall('HMGET', key, 'total', 'added', 'life_ms'))
    if not total then
      redis.call('ZREM', prefix .. ':batches', batch) -- it was never enqueued to its end, and has expired
    else
      redis.call('ZADD', prefix .. ':batches', now, batch)
      if total == added then
        redis.call('PEXPIRE', key, 2 * life_ms)
        redis.call('PEXPIRE', key .. ':ended', 2 * life_ms)
        redis.call('PEXPIRE', prefix .. ':batches', 2 * life_ms)
      end
      for _ = 1, MOST_GONE do
        local number = redis.pcall('BITPOS', key .. ':ended', 0)
        if type(number) == 'table' or number >= tonumber(added) then break end
        local id = member_id(batch, number)
        if redis.call('EXISTS', 'arq:job:' .. id) == 1 then break end
        count_member(id, 'unknown')
      end
    end
  end
end

mind_the_clock()
see_to_batches()
if aborting then forget_aborts() end
for i, lane in ipairs(lanes) do
  local lost = renew(lane)
  local rescued = {}
  if rescue then rescued = rescue_expired(lane) end
  see_to_lines(lane.queue)
  see_to_waiting(lane.queue)
  local next = redis.call('ZRANGE', lane.queue, 0, 0, 'WITHSCORES')
  if #rescued > 0 then ring(lane.queue) end
  local parked = 0
  if next[2] then parked = redis.call('ZCARD', lane.queue .. ':parked') end
  local slots = redis.call('HGET', prefix .. ':concurrency', lane.queue)
  reply[i + 1] = {next[2] or '', lost, rescued, parked, slots or '', lane.cancel}
end
return reply
