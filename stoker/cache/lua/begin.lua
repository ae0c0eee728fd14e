-- Take or create the stamps of an entry before it is loaded, and try its lease.
--
-- KEYS  1 soft stamp  2 hard stamp  3 lease  4 entry
-- ARGV  1 run of the server  2 nonce  3 life of new stamps in ms  4 lease token  5 lease in ms
--       6 bytes of an envelope's header
-- Returns { soft stamp, hard stamp, 1 if the lease was won, header of the entry or '' }
--
-- A stamp of another run counts as missing: a server restored from a snapshot brings no entry back (RACES 8).
-- The time makes a stamp new even when a client's retry repeats its nonce (RACES 37).
local now = redis.call('TIME')
local now_us = now[1] * 1000000 + now[2]
local fresh = ARGV[1] .. ARGV[2] .. string.format('%014x', now_us)

local function take(key)
  local stamp = redis.call('GET', key)
  if not stamp or string.sub(stamp, 1, #ARGV[1]) ~= ARGV[1] then
    redis.call('SET', key, fresh, 'PX', ARGV[3])
    return fresh
  end
  if redis.call('PTTL', key) < tonumber(ARGV[3]) then
    redis.call('PEXPIRE', key, ARGV[3])
  end
  return stamp
end

local soft = take(KEYS[1])
local hard = take(KEYS[2])

-- A lease names its stamps: no reader waits for a build whose stamps were invalidated (RACES 12). One with
-- this token was won by an earlier attempt of the same call, whose reply was lost (RACES 37).
local held = redis.call('GET', KEYS[3])
local mine = soft .. hard .. ARGV[4]
local won = 0
if not held or held == mine or string.sub(held, 1, #soft + #hard) ~= soft .. hard then
  redis.call('SET', KEYS[3], mine, 'PX', ARGV[5])
  won = 1
end
-- Somebody may have built the entry since the caller read it: its header says so (RACES 11).
return { soft, hard, won, redis.call('GETRANGE', KEYS[4], 0, ARGV[6] - 1) }
