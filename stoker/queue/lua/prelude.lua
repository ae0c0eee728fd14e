-- Goes in front of the queue's scripts (stoker/queue/prelude.py); not a script of its own.
--
-- The time, keys that anybody may have written, bells, and the lines of fair keys: of the jobs of a key, only the
-- first one stands in the lane; the others wait in the key's line, due in twenty years
-- (docs/decisions/0016-fair-keys.md).
--
-- Keys    <p>:<lane> zset id -> due ms; :bell list; :totals hash; :fair zset key -> when upkeep saw it;
--         :fair:<key> list of 'id due ms'
-- ARGV    1 prefix, as in every script of the queue
local prefix = ARGV[1]
local FAR_MS = 10 * 365 * 86400000 -- how far in the future a running or parked job is due
local BEHIND_MS = FAR_MS * 1.5 -- what is due later than that waits behind the first one of its fair key
local DUE_NOW_MS = 100 -- what is due sooner than that stands in the lane, whatever calls before it in this step
local MOST_LEFT = 10000 -- entries of a line that one call removes at most
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

local called = 0

local function call_next(queue, key)
  -- Lets the first one of a line stand in the lane; true if it did not stand there yet.
  for _ = 1, MOST_LEFT do
    local id = first_in_line(queue, key)
    if not id then
      redis.call('ZREM', queue .. ':fair', key)
      return false
    end
    local score = tonumber(redis.call('ZSCORE', queue, id) or '') or math.huge
    if score < now + DUE_NOW_MS then return false end
    if score > now + BEHIND_MS and score < math.huge then
      called = called + 1
      redis.call('ZADD', queue, now + called / 1024, id) -- behind those that were called before in this call
      return true
    end
    redis.call('LPOP', queue .. ':fair:' .. key) -- it is gone, runs, is parked or waits for a time
  end
end
