-- Goes in front of the queue's scripts (stoker/queue/prelude.py); not a script of its own.
--
-- The time, keys that anybody may have written, bells, the lines of fair keys, and the members of batches.
--
-- Of the jobs of a fair key, only the first one stands in the lane; the others wait in the key's line, due in twenty
-- years (docs/decisions/0016-fair-keys.md). A kind with a rate has a line, too: its key begins with %rate:, and its
-- first one stands in the lane at the moment from which the rate allows it (docs/decisions/0019-rates-of-kinds.md).
--
-- A member of a batch is counted when it ends for good, in the same step;
-- the end of the last one enqueues the job that follows (docs/decisions/0018-batches.md).
--
-- Keys    <p>:<lane> zset id -> due ms; :bell list; :totals hash; :fair zset key -> when upkeep saw it;
--         :fair:<key> list of 'id due ms'; :fair_rate:<key> ms, the moment of a kind with a rate; arq:job:<id>;
--         <p>:clock ms; <p>:batches zset id -> when upkeep saw it, of those that are open; <p>:batches_ended zset id -> ms; <p>:batch:<id> hash, see batch.lua;
--         <p>:batch:<id>:ended a bit for each member
-- ARGV    1 prefix, as in every script of the queue
local prefix = ARGV[1]
local FAR_MS = 10 * 365 * 86400000 -- how far in the future a running or parked job is due
local BEHIND_MS = FAR_MS * 1.5 -- what is due later than that waits behind the first one of its fair key
local DUE_NOW_MS = 100 -- what is due sooner than that stands in the lane, whatever calls before it in this step
local MOST_LEFT = 10000 -- entries of a line that one call removes at most
local CLOCK_MS = 86400000
local LONGEST_SHARE_MS = 86400000 -- of the lowest rate that a kind may have
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function get(key)
  -- MGET, because GET fails where a key is of another type.
  return redis.call('MGET', key)[1]
end

local function ring(queue)
  -- One token is enough: the worker that takes it claims all it can, and rings again if work is left.
  if redis.call('EXISTS', queue .. ':bell') == 0 then redis.call('LPUSH', queue .. ':bell', '1') end
end

local function count(queue, field)
  -- A total that is no number starts again at 1: it must not keep a job from ending.
  if not pcall(redis.call, 'HINCRBY', queue .. ':totals', field, 1) then
    pcall(redis.call, 'HSET', queue .. ':totals', field, 1)
  end
end

local function own(command, key, ...)
  local found = redis.pcall(command, key, ...)
  if type(found) == 'table' then
    redis.call('DEL', key) -- of another type: somebody else wrote it
    return false
  end
  return found
end

local function fair_key(payload)
  return string.match(payload, '^{"flag":"%x+","alone":[01],"fair":"([^"]+)"')
      or string.match(payload, '^{"fair":"([^"]+)"')
end

local function first_in_line(queue, key)
  local entry = own('LINDEX', queue .. ':fair:' .. key, 0)
  if not entry then return nil end
  return string.match(entry, '^(.*) %d+$') or entry, string.match(entry, ' (%d+)$')
end

local function is_rated(key)
  return string.sub(key, 1, 6) == '%rate:'
end

local function turn_of(queue, key)
  -- When the first one of a line may begin. Of NaN this makes now.
  if not is_rated(key) then return now end
  local moment = tonumber(get(queue .. ':fair_rate:' .. key) or '') or 0
  return math.max(now, math.min(moment, now + LONGEST_SHARE_MS))
end

local called = 0

local function call_next(queue, key)
  -- Lets the first one of a line stand in the lane; true if it did not stand there yet.
  local turn = turn_of(queue, key)
  for _ = 1, MOST_LEFT do
    local id = first_in_line(queue, key)
    if not id then
      redis.call('ZREM', queue .. ':fair', key)
      return false
    end
    local score = tonumber(redis.call('ZSCORE', queue, id) or '') or math.huge
    if score < turn + DUE_NOW_MS then return false end
    if score > now + BEHIND_MS and score < math.huge then
      called = called + 1
      redis.call('ZADD', queue, turn + called / 1024, id) -- behind those that were called before in this call
      return true
    end
    redis.call('LPOP', queue .. ':fair:' .. key) -- it is gone, runs, is parked or waits for a time
  end
end

local function note_the_time()
  -- From this key upkeep learns that the clock was set back, and resets it; no other script does.
  local latest = tonumber(get(prefix .. ':clock') or '') or 0
  if not (latest >= now) then -- also where it is NaN
    redis.call('SET', prefix .. ':clock', string.format('%.0f', now), 'PX', CLOCK_MS)
  end
end

local function joins_a_line(queue, id, payload)
  local key = fair_key(payload)
  if not key then return false end
  local line = queue .. ':fair:' .. key
  local place = redis.pcall('RPUSH', line, id .. ' ' .. string.format('%.0f', now))
  if type(place) == 'table' then return false end -- of another type: whoever reads it deletes it
  redis.call('ZADD', queue .. ':fair', 'NX', now, key)
  return place > 1
end

local function write(queue, id, payload, delay, life_ms)
  redis.call('SET', 'arq:job:' .. id, payload, 'PX', delay + life_ms)
  if delay == 0 and joins_a_line(queue, id, payload) then
    redis.call('ZADD', queue, now + 2 * FAR_MS, id)
    return
  end
  redis.call('ZADD', queue, now + delay, id)
  -- A deferred job rings only when it is the next one due, so that a worker sets its alarm for it.
  if delay == 0 or redis.call('ZRANK', queue, id) == 0 then ring(queue) end
end

local function end_batch(batch)
  local key = prefix .. ':batch:' .. batch
  local queue, before, after, life_ms = unpack(
    redis.call('HMGET', key, 'then_queue', 'then_before', 'then_after', 'life_ms'))
  redis.call('HSET', key, 'ended_ms', string.format('%.0f', now))
  redis.call('HDEL', key, 'then_before', 'then_after')
  redis.call('PEXPIRE', key, life_ms)
  redis.call('DEL', key .. ':ended')
  redis.pcall('ZREM', prefix .. ':batches', batch)
  redis.pcall('ZADD', prefix .. ':batches_ended', now, batch)
  redis.pcall('ZREMRANGEBYSCORE', prefix .. ':batches_ended', '-inf', now - life_ms)
  redis.call('PEXPIRE', prefix .. ':batches_ended', life_ms)
  if queue ~= '' then
    local payload = before .. ',"et":' .. string.format('%.0f', now) .. after
    write(queue, 'b-' .. batch .. '-then', payload, 0, tonumber(life_ms))
    note_the_time()
  end
end

local function member_id(batch, number)
  -- Of one width, because jobs that are due in the same millisecond are claimed in the order of their ids.
  return 'b-' .. batch .. '-' .. string.format('%06d', number)
end

local function count_member(id, how)
  -- Each bit is set once, so an end is counted once, whoever else tells of it.
  local batch, number = string.match(id, '^b%-(.+)%-(%d+)$')
  if not batch then return end
  local key = prefix .. ':batch:' .. batch
  local known = redis.pcall('HMGET', key, 'total', 'ended_ms')
  local total = tonumber(known[1] or '') or 0
  number = tonumber(number)
  if known[2] or number >= total then return end
  if redis.pcall('SETBIT', key .. ':ended', number, 1) ~= 0 then return end
  redis.pcall('HINCRBY', key, how, 1)
  if redis.call('BITCOUNT', key .. ':ended') >= total then end_batch(batch) end
end
