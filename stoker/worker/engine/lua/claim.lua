#!lua flags=allow-oom
-- Claim jobs of one lane: up to the free slots, in one call, whatever else is running.
--
-- Keys    <p>:<lane> zset id -> due ms; :running zset id -> claim's deadline ms; :parked zset id -> ms;
--         :bell list; :paused; <p>:waiting:<digest>, <p>:begun:<digest>, <p>:held:<digest> id;
--         <p>:rescues:<id> count; <p>:suspect:<owner> id; <p>:<lane>:rate ms; arq:job:<id>,
--         arq:in-progress:<id> owner, or '1' of a stock arq worker; arq:retry:<id> failed runs
--         arq:abort zset id -> ms; of fair keys: <p>:<lane>:fair zset key -> when upkeep saw it,
--         :fair:<key> list of 'id due ms', :fair_runs:<key> set of ids, :fair_rate:<key> ms
-- ARGV    prefix, name of the lane's zset, owner, free slots, claim's life ms, owner's mark's life ms,
--         rescues that make a suspect, kinds to take from the parked ones ('' = claim what is due),
--         jobs of the lane that all workers may begin in a second (0 = no limit),
--         jobs of one fair key that run at once (0 = no limit), then per kind with a rate: its line, jobs in a second
-- Result  now ms, when to ask again in ms: the lane's next job is due, or its rate allows one ('' = none),
--         then per job {id, payload or nil, due ms, failed runs, rescues, 1 if it was aborted}
--
-- A running job stays in its lane's zset, due in ten years: a stock arq client that waits for its result asks
-- whether it is there. What anybody may have written is read with a bound: no value can stop the lane.
--
-- Fair keys (docs/decisions/0016-fair-keys.md): of the jobs of a key, only the first one stands in the lane. The
-- others wait in the key's line, due in twenty years, and the next one takes its place, behind the other keys, when
-- the first one begins. A job that comes due by itself joins the line of its key here.
local queue, owner = ARGV[2], ARGV[3]
local free_slots, life_ms, mark_ms = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6]
local suspect_from, kinds, rate = tonumber(ARGV[7]), ARGV[8], tonumber(ARGV[9])
local cap, rates = tonumber(ARGV[10]), {}
for i = 11, #ARGV, 2 do rates[ARGV[i]] = tonumber(ARGV[i + 1]) end
local SUSPECT_WAITS_MS = 500
local BURST_MS = 100
local ABORT_SCORE = '1'
local ABORT_WAITS_MS = 100
local STOCK_MARK = '1'
local STOCK_WAITS_MS = 500
local MOST = 1000000
local MOST_MET = 1000
local RUNS_MS = 30 * 86400000 -- longer than any job runs: each begin of its key extends it

local reply = {now, ''}
if redis.call('EXISTS', queue .. ':paused') == 1 then return reply end
local aborting = redis.call('EXISTS', 'arq:abort') == 1

local function bounded(text)
  -- Of NaN this makes 0.
  return math.floor(math.max(0, math.min(tonumber(text or '') or 0, MOST)))
end

-- The rate as one moment (GCRA, "generic cell rate algorithm"): each job begun moves it on by its share of a
-- second, and jobs may begin while it is not past now. What was not used is kept for a tenth of a second only.
local slots, spent, share_ms = free_slots, nil, nil
if rate > 0 then
  share_ms = 1000 / rate
  local kept = now - math.max(share_ms, BURST_MS)
  spent = tonumber(get(queue .. ':rate') or '') or kept
  -- It is never past now where this script wrote it; NaN is neither before nor after anything.
  if not (spent >= kept and spent <= now) then spent = kept end
  slots = math.min(free_slots, math.floor((now - spent) / share_ms))
end

local function taken_by_another(digest)
  local begun = get(prefix .. ':begun:' .. digest)
  return begun and redis.call('ZSCORE', queue .. ':running', begun)
end

local function is_at_cap(key)
  local runs = queue .. ':fair_runs:' .. key
  if cap == 0 or (own('SCARD', runs) or 0) < cap then return false end
  for _, id in ipairs(redis.call('SMEMBERS', runs)) do
    if not redis.call('ZSCORE', queue .. ':running', id) then redis.call('SREM', runs, id) end
  end
  return redis.call('SCARD', runs) >= cap
end

local function must_wait(key)
  if not rates[key] then return is_at_cap(key) end
  -- A moment that is further away than one share was not written by this script, or the clock was set back.
  local share, moment = 1000 / rates[key], tonumber(get(queue .. ':fair_rate:' .. key) or '') or 0
  return moment > now and moment <= now + share
end

local function spend(key)
  -- As the lane's rate: what was not used is kept for a tenth of a second.
  local share, moment = 1000 / rates[key], tonumber(get(queue .. ':fair_rate:' .. key) or '') or 0
  if not (moment <= now) then moment = now end -- also where it is NaN
  moment = math.max(moment, now + share - math.max(share, BURST_MS)) + share
  local life = string.format('%.0f', math.max(0, moment - now) + 1000)
  redis.call('SET', queue .. ':fair_rate:' .. key, string.format('%.3f', moment), 'PX', life)
end

local function leave_line(key, id)
  if first_in_line(queue, key) ~= id then return end
  redis.call('LPOP', queue .. ':fair:' .. key)
  if not is_at_cap(key) then call_next(queue, key) end
end

local function waits_its_turn(key, id, due, rescued)
  local first, since = first_in_line(queue, key)
  -- A rescued job has had its turn.
  if (not first or first == id or rescued) and not must_wait(key) then return false end
  if first ~= id then
    -- Of NaN and of times before those of any job, this makes one that is years ago.
    since = string.format('%.0f', math.max(now - FAR_MS / 4, math.min(tonumber(due), now)))
    redis.call('RPUSH', queue .. ':fair:' .. key, id .. ' ' .. since)
    redis.call('ZADD', queue .. ':fair', 'NX', now, key)
  end
  if rates[key] and (not first or first == id) then
    redis.call('ZADD', queue, turn_of(queue, key), id)
  else
    redis.call('ZADD', queue, (since or now) + 2 * FAR_MS, id)
  end
  return true
end

local function begin_turn(key, id)
  local first, since = first_in_line(queue, key)
  if cap > 0 and not is_rated(key) then
    redis.call('SADD', queue .. ':fair_runs:' .. key, id)
    redis.call('PEXPIRE', queue .. ':fair_runs:' .. key, RUNS_MS)
  end
  if rates[key] then spend(key) end
  leave_line(key, id)
  return first == id and since
end

local function claim(id, due)
  local found = redis.call('MGET', 'arq:job:' .. id, 'arq:retry:' .. id, prefix .. ':rescues:' .. id,
    'arq:in-progress:' .. id)
  local payload, rescues = found[1], bounded(found[3])
  if found[4] == STOCK_MARK then
    -- A stock arq worker runs it. If that dies, its mark expires, and the job is claimed here.
    redis.call('ZADD', queue, now + STOCK_WAITS_MS, id)
    return
  end
  local aborted = aborting and redis.call('ZSCORE', 'arq:abort', id) and 1 or 0
  if due == ABORT_SCORE and aborted == 0 then
    -- arq's `abort` makes a deferred job due at this score, and writes down only then that it is to be aborted.
    redis.call('ZADD', queue, now + ABORT_WAITS_MS, id)
    return
  end
  if aborted == 1 then redis.call('ZREM', queue .. ':parked', id) end
  local key = payload and fair_key(payload)
  if key and aborted == 0 and waits_its_turn(key, id, due, found[3]) then return end
  local digest, alone
  if payload then digest, alone = string.match(payload, '^{"flag":"(%x+)","alone":([01])') end
  if alone == '1' and taken_by_another(digest) then
    -- The running one's end brings this one forward; if it dies, the score does.
    redis.call('ZADD', queue, now + life_ms, id)
    redis.call('SET', prefix .. ':held:' .. digest, id, 'PX', mark_ms)
    if key then leave_line(key, id) end
    return
  end
  if rescues == suspect_from then
    -- A suspect of having killed its worker runs without other suspects beside it, in any lane of the process,
    -- so that the next kill tells who did it. One with more rescues does not run: it goes into quarantine, and must
    -- not take the blame for what kills the worker before its dead letter has committed.
    if not redis.call('SET', prefix .. ':suspect:' .. owner, id, 'NX', 'PX', mark_ms) then
      redis.call('ZADD', queue, now + SUSPECT_WAITS_MS, id)
      if key then leave_line(key, id) end
      return
    end
  end
  if digest then
    -- The flag goes at the start, before the work: a change from now on brings one more job (RACES 10, 26).
    if get(prefix .. ':waiting:' .. digest) == id then
      redis.call('DEL', prefix .. ':waiting:' .. digest)
    end
    redis.call('SET', prefix .. ':begun:' .. digest, id, 'PX', mark_ms)
  end
  redis.call('ZADD', queue, now + FAR_MS, id)
  redis.call('ZADD', queue .. ':running', now + life_ms, id)
  redis.call('SET', 'arq:in-progress:' .. id, owner, 'PX', mark_ms)
  if key then due = begin_turn(key, id) or due end
  reply[#reply + 1] = {id, payload, due, bounded(found[2]), rescues, aborted}
end

local function take(id, due)
  if redis.call('ZSCORE', queue .. ':running', id) then
    -- It runs already: something that makes it due again, such as arq's `abort`, must not start a second run.
    redis.call('ZADD', queue, now + FAR_MS, id)
  else
    claim(id, due)
  end
end

if kinds ~= '' then
  local parked = redis.call('ZRANGE', queue .. ':parked', 0, 999)
  for _, id in ipairs(parked) do
    if #reply - 2 >= slots then break end
    local read, job = pcall(cjson.decode, get('arq:job:' .. id) or '')
    local kind = read and type(job) == 'table' and job.f
    -- What no worker can read is taken too: it becomes a dead letter.
    if type(kind) ~= 'string' or string.find(kinds, ' ' .. kind .. ' ', 1, true) then
      redis.call('ZREM', queue .. ':parked', id)
      take(id, now)
    else
      -- To the end of the set, so that the next call sees the jobs behind the unknown ones.
      redis.call('ZADD', queue .. ':parked', now, id)
    end
  end
else
  -- What must wait was given a later score, so every round sees other jobs.
  local met = 0
  for _ = 1, MOST_MET do
    local free = slots - (#reply - 2)
    if free <= 0 or met >= MOST_MET then break end
    local due = redis.call('ZRANGEBYSCORE', queue, '-inf', '(' .. string.format('%.0f', now + 1), 'WITHSCORES', 'LIMIT', 0, free)
    if #due == 0 then break end
    for i = 1, #due, 2 do take(due[i], due[i + 1]) end
    met = met + #due / 2
  end
end

if rate > 0 and #reply > 2 then
  spent = spent + (#reply - 2) * share_ms
  local life = string.format('%.0f', math.max(0, spent - now) + 1000)
  redis.call('SET', queue .. ':rate', string.format('%.3f', spent), 'PX', life)
end

local next = redis.call('ZRANGE', queue, 0, 0, 'WITHSCORES')
if next[2] then
  local due, limited = tonumber(next[2]), rate > 0 and spent + share_ms > now
  reply[2] = next[2]
  if limited then reply[2] = string.format('%.0f', math.max(due, math.ceil(spent + share_ms))) end
  -- Due jobs are left and this worker has no free slot: ring for another worker. If only the rate holds them
  -- back, a worker with free slots calls again by itself.
  if due < now + 1 and (not limited or #reply - 2 >= free_slots)
      and redis.call('EXISTS', queue .. ':bell') == 0 then
    redis.call('LPUSH', queue .. ':bell', '1')
  end
end
return reply
