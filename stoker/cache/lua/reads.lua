-- Note that entries were read: when last, and how much.
--
-- KEYS  1 last reads  2 heat
-- ARGV  1 now, in seconds since 1970  2 half-life of a read in seconds  3 entries kept  4 life of both keys in ms
--       then for each entry: its member, how often it was read
-- Returns 'OK'
--
-- Heat is a time: one read at that time would weigh as much as all reads of the entry do. A read counts half
-- as much after every half-life, so twice the reads is one half-life more. Nothing has to be decayed in
-- place, and the order is right at any time (forward decay, Cormode et al. 2009, as a logarithm).
local now, half = tonumber(ARGV[1]), tonumber(ARGV[2])
local kept, life = tonumber(ARGV[3]), ARGV[4]

local function log2(number)
  return math.log(number) / math.log(2)
end

local members, latest, heats = {}, {}, {}
for at = 5, #ARGV, 2 do
  table.insert(members, ARGV[at])
end
-- One command for all entries: one for each of them would be most of the commands that the server carries out.
for index, known in ipairs(redis.call('ZMSCORE', KEYS[2], unpack(members))) do
  local heat = now + half * log2(tonumber(ARGV[2 * index + 4]))
  known = tonumber(known or nil)
  if known then
    local more, less = math.max(heat, known), math.min(heat, known)
    heat = more + half * log2(1 + 2 ^ ((less - more) / half))
  end
  table.insert(latest, ARGV[1])
  table.insert(latest, members[index])
  table.insert(heats, string.format('%.3f', heat))
  table.insert(heats, members[index])
end
redis.call('ZADD', KEYS[1], 'GT', unpack(latest))
redis.call('ZADD', KEYS[2], unpack(heats))
for index = 1, 2 do
  redis.call('ZREMRANGEBYRANK', KEYS[index], 0, -kept - 1)
  redis.call('PEXPIRE', KEYS[index], life)
end
return 'OK'
