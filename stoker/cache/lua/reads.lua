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

for at = 5, #ARGV, 2 do
  local member = ARGV[at]
  local heat = now + half * log2(tonumber(ARGV[at + 1]))
  local known = tonumber(redis.call('ZSCORE', KEYS[2], member) or nil)
  if known then
    local more, less = math.max(heat, known), math.min(heat, known)
    heat = more + half * log2(1 + 2 ^ ((less - more) / half))
  end
  redis.call('ZADD', KEYS[1], 'GT', ARGV[1], member)
  redis.call('ZADD', KEYS[2], string.format('%.3f', heat), member)
end
for index = 1, 2 do
  redis.call('ZREMRANGEBYRANK', KEYS[index], 0, -kept - 1)
  redis.call('PEXPIRE', KEYS[index], life)
end
return 'OK'
