-- Set a key, unless somebody else has changed it since the caller read it.
--
-- KEYS  1 the key
-- ARGV  1 its value as read, '' for none  2 the new value
-- Returns 1 if it was set
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2])
return 1
