-- Locks unsettled events that are due, the oldest first; those that another relay holds are passed over.
-- In: asking text[], kinds whose rules ask for the payload; batch; longest_backoff interval; idle_ms text.
-- Out: kind, scopes, payload, attempts, trace, ids bigint[]: events with the same content are one row, because
-- fetching and reading each one took a third of the time of a burst.
WITH guard AS MATERIALIZED (
    -- A relay that freezes after its claim loses it. A commit that Postgres forgets in a crash is made again,
    -- which changes nothing, so it does not wait for the disk. Both are set here to save a round trip.
    SELECT set_config('idle_in_transaction_session_timeout', :idle_ms, true),
           set_config('synchronous_commit', 'off', true)
), locked AS (
    SELECT id, kind, CAST(scopes AS text) AS scopes, attempts, trace,
           -- A question mark: a trigger recorded it, and its rule is asked now.
           CASE WHEN kind = ANY(CAST(:asking AS text[])) OR scopes->0->>0 = '?'
                THEN CAST(payload AS text) ELSE '' END AS payload
      FROM stoker.cache_events
     WHERE settled_at IS NULL
       -- Only a postponed event waits, and after the clock went back for no longer than the longest backoff.
       AND (attempts = 0
            OR due_at <= clock_timestamp()
            OR due_at > clock_timestamp() + CAST(:longest_backoff AS interval))
     ORDER BY recorded_at
     -- Hidden from the planner, so that it walks the index in order. With a LIMIT that it sees and few
     -- expected rows, as before a burst has been analyzed, it reads and sorts all of them for each batch.
     LIMIT (SELECT CAST(:batch AS bigint))
       FOR UPDATE SKIP LOCKED
)
SELECT kind, scopes, payload, attempts, trace, array_agg(id)
  FROM guard, locked
 GROUP BY kind, scopes, payload, attempts, trace
