-- Goes in front of every script of the queue in a process under chaos; not a script of its own.
--
-- It notes what a script does to jobs, atomically with it, so that the count is right whoever is killed when:
-- a job is born with its payload, and ends when its payload is deleted. SCRIPT is replaced by the script's name.
--
-- Keys    <p>:chaos:born hash id -> payload; <p>:chaos:ended hash id -> done, dead or another total;
--         <p>:chaos:rescues list of "id owner ms"
-- ARGV    1 prefix, as in every script of the queue
local redis = (function(server)
  local audit, ended = ARGV[1] .. ':chaos:', nil

  local function payload_id(key)
    return type(key) == 'string' and string.sub(key, 1, 8) == 'arq:job:' and string.sub(key, 9)
  end

  local function rescued(key)
    local id = string.match(key, '^arq:in%-progress:(.*)$')
    if id then
      local time, owner = server.call('TIME'), server.call('GET', key)
      local now = time[1] * 1000 + math.floor(time[2] / 1000)
      server.call('RPUSH', audit .. 'rescues', id .. ' ' .. (owner or '-') .. ' ' .. now)
    end
  end

  local function call(command, key, field, ...)
    if command == 'DEL' and 'SCRIPT' == 'upkeep' then rescued(key) end
    -- Not `...` for all: a nil in its middle would be passed on as an argument.
    local reply
    if field == nil then
      if key == nil then reply = server.call(command) else reply = server.call(command, key) end
    else
      reply = server.call(command, key, field, ...)
    end
    local id = payload_id(key)
    if command == 'SET' and id then
      server.call('HSETNX', audit .. 'born', id, field)
    elseif command == 'DEL' and id then
      server.call('HSET', audit .. 'ended', id, 'removed')
      ended = id
    elseif command == 'ZREM' then
      ended = nil
    elseif command == 'HINCRBY' and ended then
      server.call('HSET', audit .. 'ended', ended, field)
    end
    return reply
  end

  return setmetatable({call = call}, {__index = server})
end)(redis)
