-- Enqueue members of a batch, a part at a time, in their order. Writing a part again changes nothing, so that a call
-- which got no answer may be repeated, and a handler that runs again enqueues no second batch.
--
-- Keys    <p>:batch:<id> hash: total members, added so far, done, failed, cancelled, unknown, created_ms, ended_ms,
--         life_ms, then_queue, then_before and then_after (the payload of what follows, around its time);
--         <p>:batch:<id>:ended a bit for each member; <p>:batches zset; of jobs as in enqueue.lua
-- ARGV    prefix, life of a payload past its due time ms, batch, members in all, number of the first one here,
--         delay ms, then_queue ('' = nothing follows), then_before, then_after; then per member: name of the
--         lane's zset, payload
-- Result  members added so far, or -1: it is a batch of another number of members, or -2: it is gone
--
-- It does not end while members are to come: the number of all of them is known from the first call on.
local life_ms, batch, total, first = tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local delay = tonumber(ARGV[6])
local key = prefix .. ':batch:' .. batch
local known = redis.call('HMGET', key, 'total', 'added')

if known[1] and tonumber(known[1]) ~= total then return -1 end
if not known[1] then
  if first > 0 then return -2 end
  local life = delay + 2 * life_ms
  redis.call('HSET', key, 'total', total, 'added', 0, 'created_ms', string.format('%.0f', now), 'life_ms', life_ms,
    'then_queue', ARGV[7], 'then_before', ARGV[8], 'then_after', ARGV[9])
  redis.call('PEXPIRE', key, life)
  redis.call('SETBIT', key .. ':ended', 0, 0)
  redis.call('PEXPIRE', key .. ':ended', life)
  redis.call('ZADD', prefix .. ':batches', now, batch)
  redis.call('PEXPIRE', prefix .. ':batches', life)
  if total == 0 then end_batch(batch) end
end

local added = tonumber(known[2] or '0')
local number = first
for i = 10, #ARGV, 2 do
  if number == added then
    write(ARGV[i], member_id(batch, number), ARGV[i + 1], delay, life_ms)
    added = added + 1
  end
  number = number + 1
end
redis.call('HSET', key, 'added', added)
note_the_time()
return added
