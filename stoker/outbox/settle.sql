-- Marks events as applied: the cache has acknowledged every one of their stamps.
-- In: ids bigint[]; by: the process that applied them; bounds float8[] in seconds. Out: a row for each pair of neighbouring bounds with events
-- between them: how many, and their average time on the way in seconds.
WITH settled AS (
    UPDATE stoker.cache_events SET settled_at = clock_timestamp(), settled_by = :by, error = NULL
     WHERE id = ANY(CAST(:ids AS bigint[]))
    RETURNING greatest(0, date_part('epoch', settled_at - recorded_at)) AS waited_s
)
SELECT count(*), avg(waited_s)
  FROM settled
 GROUP BY width_bucket(waited_s, CAST(:bounds AS float8[]))
