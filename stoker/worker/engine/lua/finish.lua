#!lua flags=allow-oom
-- End claimed jobs, each only if the caller still owns its claim. One that is to be cancelled is gone, however
-- its run ended.
--
-- Keys    as in claim.lua, and <p>:<lane>:totals hash; <p>:cancelling set of ids; <p>:progress:<id> hash;
--         arq:abort zset; arq:result:<id>; of fair keys as in claim.lua; of batches as in prelude.lua
-- ARGV    prefix, owner, life of a payload past its due time ms, then per job: name of the lane's zset, id,
--         ending (remove, again, retry, postpone, park), delay ms, digest or '', totals to count, separated by
--         spaces, state for its progress or '', error for it, fair key or '', number of this run, the result for a stock arq client or '',
--         its life ms ('' = for ever), for how long no stock worker may run the id again ms ('' = not at all)
-- Result  per job: 1, or 0 if the claim was lost (nothing was changed)
local owner, life_ms = ARGV[2], tonumber(ARGV[3])
local MOST = 1000000
local cancelling = redis.call('EXISTS', prefix .. ':cancelling') == 1
local aborting = redis.call('EXISTS', 'arq:abort') == 1

local suspect = get(prefix .. ':suspect:' .. owner)

local function use_try(id, life, run)
  local failed = tonumber(get('arq:retry:' .. id) or '') or 0
  -- Neither a negative number nor NaN, for which this is 0, may give a job tries without end.
  -- A client may have asked for a higher number of the first run.
  failed = math.max(math.max(0, math.min(failed, MOST)) + 1, run)
  redis.call('SET', 'arq:retry:' .. id, string.format('%.0f', failed), 'PX', life)
end

local function is_wished_away(id)
  local cancelled = cancelling and redis.call('SREM', prefix .. ':cancelling', id) == 1
  local aborted = aborting and redis.call('ZREM', 'arq:abort', id) == 1
  return cancelled or aborted
end

local function queue_again(queue, id, delay, digest)
  redis.call('ZADD', queue, now + delay, id)
  redis.call('PEXPIRE', 'arq:job:' .. id, delay + life_ms)
  -- It waits again: requests join it, so that a failing job does not multiply while it backs off.
  if digest ~= '' then
    redis.call('SET', prefix .. ':waiting:' .. digest, id, 'PX', delay + life_ms, 'NX')
  end
  if delay == 0 then ring(queue) end
end

local function release_held(queue, id, digest)
  if get(prefix .. ':begun:' .. digest) == id then
    redis.call('DEL', prefix .. ':begun:' .. digest)
  end
  local held = get(prefix .. ':held:' .. digest)
  if held then
    redis.call('DEL', prefix .. ':held:' .. digest)
    if redis.call('ZSCORE', queue, held) then
      redis.call('ZADD', queue, now, held)
      ring(queue)
    end
  end
end

local PROGRESS_MS = 86400000

local function report(id, state, error)
  local key = prefix .. ':progress:' .. id
  -- A job that died before it ran has no report yet, and somebody may wait for its result.
  if redis.call('EXISTS', key) == 0 and state ~= 'failed' and state ~= 'cancelled' then return end
  pcall(redis.call, 'HSET', key, 'state', state, 'error', error, 'updated_ms', now)
  redis.call('PEXPIRE', key, PROGRESS_MS)
end

local function ended_how(totals)
  return string.match(totals, 'done') or string.match(totals, 'cancelled') or 'failed'
end

local function tell_arq(id, result, result_ms, mark_ms)
  if result ~= '' then redis.call('SET', 'arq:result:' .. id, result) end
  if result_ms ~= '' then redis.call('PEXPIRE', 'arq:result:' .. id, result_ms) end
  if mark_ms ~= '' then redis.call('SET', 'arq:in-progress:' .. id, '1', 'PX', mark_ms) end
end

local replies = {}
for i = 4, #ARGV, 13 do
  local queue, id, ending = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local delay, digest, totals = tonumber(ARGV[i + 3]), ARGV[i + 4], ARGV[i + 5]
  local state, error, key = ARGV[i + 6], ARGV[i + 7], ARGV[i + 8]
  if get('arq:in-progress:' .. id) ~= owner then
    replies[#replies + 1] = 0
  else
    if is_wished_away(id) and ending ~= 'remove' then
      ending, totals, state, error = 'remove', 'cancelled', 'cancelled', ''
    end
    redis.call('ZREM', queue .. ':running', id)
    if ending == 'remove' then
      redis.call('ZREM', queue, id)
      redis.call('DEL', 'arq:job:' .. id, 'arq:in-progress:' .. id, 'arq:retry:' .. id,
        prefix .. ':rescues:' .. id, prefix .. ':blamed:' .. id)
    else
      -- A run that ended by itself did not kill its worker.
      redis.call('DEL', 'arq:in-progress:' .. id, prefix .. ':rescues:' .. id, prefix .. ':blamed:' .. id)
    end
    if suspect == id then redis.call('DEL', prefix .. ':suspect:' .. owner) end
    if ending == 'park' then
      -- It stays in the queue, due far in the future as while it ran, so that arq sees a deferred job.
      redis.call('ZADD', queue .. ':parked', now, id)
      redis.call('PEXPIRE', 'arq:job:' .. id, life_ms)
      if digest ~= '' then
        redis.call('SET', prefix .. ':waiting:' .. digest, id, 'PX', life_ms, 'NX')
      end
    elseif ending == 'again' then
      queue_again(queue, id, delay, digest)
    elseif ending == 'retry' then
      use_try(id, delay + life_ms, tonumber(ARGV[i + 9]))
      queue_again(queue, id, delay, digest)
    elseif ending == 'postpone' then
      -- A count, even of 0 failed runs, keeps requests that join the job from shortening its backoff.
      redis.call('SET', 'arq:retry:' .. id, '0', 'PX', delay + life_ms, 'NX')
      queue_again(queue, id, delay, digest)
    end
    if digest ~= '' then release_held(queue, id, digest) end
    -- It was counted against its key's cap: the next one may run now.
    if key ~= '' and redis.pcall('SREM', queue .. ':fair_runs:' .. key, id) == 1 and call_next(queue, key) then
      ring(queue)
    end
    for field in string.gmatch(totals, '%S+') do
      count(queue, field)
    end
    if state ~= '' then report(id, state, error) end
    if ending == 'remove' then count_member(id, ended_how(totals)) end
    tell_arq(id, ARGV[i + 10], ARGV[i + 11], ARGV[i + 12])
    replies[#replies + 1] = 1
  end
end
return replies
