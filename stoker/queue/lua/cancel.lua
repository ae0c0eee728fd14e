#!lua flags=allow-oom
-- Cancel a job: a waiting one is removed at once; the worker of a running one is told.
--
-- Keys    as in enqueue.lua, and <p>:<lane>:parked zset, :totals hash; <p>:cancelling set of ids;
--         <p>:bell:<owner> list; <p>:progress:<id> hash; arq:in-progress:<id> owner; of fair keys and batches as in
--         prelude.lua
-- ARGV    prefix, id, life of the wish ms, life of a token in an owner's bell ms, then the names of the lanes'
--         zsets
-- Result  cancelled, cancelling, runs_elsewhere or not_found
local id, wish_ms, token_ms = ARGV[2], ARGV[3], ARGV[4]

local function tell_owner()
  -- The request outlives the worker: upkeep finds it if the token is lost; the end of the run, or else the
  -- rescue, obeys it.
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
  count(queue, 'cancelled')
  report()
  local key = payload and fair_key(payload)
  if key and call_next(queue, key) then ring(queue) end
  count_member(id, 'cancelled')
end

for i = 5, #ARGV do
  local queue = ARGV[i]
  if redis.call('ZSCORE', queue .. ':running', id) then
    tell_owner()
    return 'cancelling'
  end
  if redis.call('ZSCORE', queue, id) and get('arq:in-progress:' .. id) == '1' then
    -- A stock arq worker runs it. This is how arq's clients ask for its end.
    redis.call('ZADD', 'arq:abort', now, id)
    return 'runs_elsewhere'
  end
  if redis.call('ZSCORE', queue, id) then
    remove(queue)
    return 'cancelled'
  end
end
return 'not_found'
