-- Marks events as applied: the cache has acknowledged every one of their stamps.
-- In: ids bigint[]; bounds float8[] in seconds. Out: how many were on their way for about as long, and how long
-- they were on the average, in seconds; one row for each of the bounds between which there are any.
WITH settled AS (
    UPDATE stoker.cache_events SET settled_at = clock_timestamp(), error = NULL
     WHERE id = ANY(CAST(:ids AS bigint[]))
    RETURNING greatest(0, date_part('epoch', settled_at - recorded_at)) AS waited_s
)
SELECT count(*), avg(waited_s)
  FROM settled
 GROUP BY width_bucket(waited_s, CAST(:bounds AS float8[]))
