-- Write jobs, each unless one of its coalesce key already waits (RACES 10, 26, 40).
--
-- Keys    <p>:<lane> zset id -> due ms; <p>:<lane>:running zset id -> claim's deadline ms;
--         <p>:<lane>:bell list; <p>:waiting:<digest> id; <p>:begun:<digest> id; <p>:held:<digest> id; arq:job:<id>;
--         arq:in-progress:<id>; <p>:clock ms; of fair keys as in prelude.lua
-- ARGV    prefix, life of a payload past its due time in ms,
--         then per job: name of the lane's zset, id, payload, delay ms, digest ('' = never coalesces)
-- Result  per job: id of the job that will do the work, answer
--
-- A job that was requested in a transaction (its id begins with r-) is written once: <p>:requested:<id> remembers
-- it past its end. A job with a fair key stands in the lane if its key's line was empty, else it waits in that line,
-- due in twenty years (claim.lua). A delayed one joins the line when it is due.
local life_ms = tonumber(ARGV[2])
local REQUESTED_MS = 86400000

local function waiting_job(queue, digest)
  -- The flag counts only while its job is queued and can run: a flag without its job is ignored.
  local id = get(prefix .. ':waiting:' .. digest)
  if not id or redis.call('EXISTS', 'arq:job:' .. id) == 0 then return nil end
  local due = redis.call('ZSCORE', queue, id)
  -- A running job is in the queue too, due in ten years; one that a stock arq worker runs ('1' is its mark) keeps its
  -- flag, and may have read too early.
  if due and not redis.call('ZSCORE', queue .. ':running', id) and get('arq:in-progress:' .. id) ~= '1' then
    return id, tonumber(due)
  end
  return nil
end

local function was_delivered(id)
  return string.sub(id, 1, 2) == 'r-'
      and not redis.call('SET', prefix .. ':requested:' .. id, '1', 'NX', 'PX', REQUESTED_MS)
end

local replies, written = {}, false
for i = 3, #ARGV, 5 do
  local queue, id, payload = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local delay, digest = tonumber(ARGV[i + 3]), ARGV[i + 4]
  local answer = 'enqueued'
  local waiting, due
  local delivered = was_delivered(id)
  if digest ~= '' then waiting, due = waiting_job(queue, digest) end
  if delivered then
    answer = 'enqueued' -- by an earlier delivery, whose transaction did not commit
  elseif waiting then
    answer = 'coalesced'
    -- Wanted sooner than it is due. But a job that waits in the line of its key keeps its place, one that backs off
    -- after a failure keeps its backoff, a parked one has no worker yet, and one held back is brought forward by the
    -- end of the running one.
    if due > now + delay and due < now + BEHIND_MS
        and redis.call('EXISTS', 'arq:retry:' .. waiting) == 0
        and not redis.call('ZSCORE', queue .. ':parked', waiting)
        and get(prefix .. ':held:' .. digest) ~= waiting then
      redis.call('ZADD', queue, now + delay, waiting)
      ring(queue)
    end
    id = waiting
  else
    if digest ~= '' then
      redis.call('SET', prefix .. ':waiting:' .. digest, id, 'PX', delay + life_ms)
      local begun = get(prefix .. ':begun:' .. digest)
      if begun and redis.call('ZSCORE', queue .. ':running', begun) then answer = 'will_rerun' end
    end
    write(queue, id, payload, delay, life_ms)
    written = true
  end
  replies[#replies + 1] = id
  replies[#replies + 1] = answer
end
if written then note_the_time() end
return replies
