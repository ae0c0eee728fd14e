#!lua flags=allow-oom
-- Cancel a job: a waiting one is removed at once; the worker of a running one is told.
--
-- Keys    as in enqueue.lua, and <p>:<lane>:parked zset, :totals hash; <p>:cancelling set of ids;
--         <p>:bell:<owner> list; <p>:progress:<id> hash; arq:in-progress:<id> owner; of fair keys as in claim.lua
-- ARGV    prefix, id, life of the wish ms, life of a token in an owner's bell ms, then the names of the lanes'
--         zsets
-- Result  cancelled, cancelling or not_found
local prefix, id, wish_ms, token_ms = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local FAR_MS = 10 * 365 * 86400000
local MOST_LEFT = 10000
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function get(key)
  -- MGET, because GET fails where a key is of another type.
  return redis.call('MGET', key)[1]
end

local function tell_owner()
  -- The request outlives its worker: upkeep finds it if the token is lost, the end of the run obeys it, and
  -- so does the rescue if there is no end.
  redis.call('SADD', prefix .. ':cancelling', id)
  redis.call('PEXPIRE', prefix .. ':cancelling', wish_ms)
  local owner = get('arq:in-progress:' .. id)
  if owner then
    redis.call('LPUSH', prefix .. ':bell:' .. owner, 'cancel:' .. id)
    redis.call('PEXPIRE', prefix .. ':bell:' .. owner, token_ms)
  end
end

local function report()
  local key = prefix .. ':progress:' .. id
  if redis.call('EXISTS', key) == 1 then
    pcall(redis.call, 'HSET', key, 'state', 'cancelled', 'error', '', 'updated_ms', now)
  end
end

local function ring(queue)
  if redis.call('EXISTS', queue .. ':bell') == 0 then redis.call('LPUSH', queue .. ':bell', '1') end
end

local function first_in_line(queue, key)
  local found = redis.pcall('LINDEX', queue .. ':fair:' .. key, 0)
  if type(found) == 'table' or not found then return nil end
  return string.match(found, '^(.*) %d+$') or found
end

local function call_next(queue, key)
  -- As in claim.lua.
  for _ = 1, MOST_LEFT do
    local id = first_in_line(queue, key)
    if not id then
      redis.call('ZREM', queue .. ':fair', key)
      return
    end
    local score = tonumber(redis.call('ZSCORE', queue, id) or '') or math.huge
    if score < now + 100 then return end
    if score > now + FAR_MS * 1.5 and score < math.huge then
      redis.call('ZADD', queue, now, id)
      ring(queue)
      return
    end
    redis.call('LPOP', queue .. ':fair:' .. key)
  end
end

local function remove(queue)
  local payload = get('arq:job:' .. id)
  local digest = payload and string.match(payload, '^{"flag":"(%x+)"')
  redis.call('ZREM', queue, id)
  redis.call('ZREM', queue .. ':parked', id)
  if digest then
    for _, flag in ipairs({':waiting:', ':held:'}) do
      if get(prefix .. flag .. digest) == id then
        redis.call('DEL', prefix .. flag .. digest)
      end
    end
  end
  redis.call('SREM', prefix .. ':cancelling', id)
  redis.call('ZREM', 'arq:abort', id)
  redis.call('DEL', 'arq:job:' .. id, 'arq:retry:' .. id, prefix .. ':rescues:' .. id)
  if not pcall(redis.call, 'HINCRBY', queue .. ':totals', 'cancelled', 1) then
    pcall(redis.call, 'HSET', queue .. ':totals', 'cancelled', 1)
  end
  report()
  local key = payload and (string.match(payload, '^{"flag":"%x+","alone":[01],"fair":"([^"]+)"')
    or string.match(payload, '^{"fair":"([^"]+)"'))
  if key then call_next(queue, key) end
end

for i = 5, #ARGV do
  local queue = ARGV[i]
  if redis.call('ZSCORE', queue .. ':running', id) then
    tell_owner()
    return 'cancelling'
  end
  if redis.call('ZSCORE', queue, id) then
    remove(queue)
    return 'cancelled'
  end
end
return 'not_found'
