-- Locks unsettled events that are due, the oldest first; those that another relay holds are passed over.
-- In: asking text[], kinds whose rules ask for the payload; batch; longest_backoff interval; idle_ms text.
-- Out: kind, scopes, payload, attempts, trace, ids bigint[]: events that say the same are one row, for to fetch
-- and read every one took a third of the time of a burst.
WITH guard AS MATERIALIZED (
    -- A relay that freezes after its claim loses it. A settling that Postgres forgets in a crash is done again,
    -- which changes nothing: no disk is waited for. Set here to save a round trip.
    SELECT set_config('idle_in_transaction_session_timeout', :idle_ms, true),
           set_config('synchronous_commit', 'off', true)
), locked AS (
    SELECT id, kind, CAST(scopes AS text) AS scopes, attempts, trace,
           CASE WHEN kind = ANY(CAST(:asking AS text[])) THEN CAST(payload AS text) ELSE '' END AS payload
      FROM stoker.cache_events
     WHERE settled_at IS NULL
       -- Only an event that was put off waits, and if the clock went back, for no longer than that.
       AND (attempts = 0
            OR due_at <= clock_timestamp()
            OR due_at > clock_timestamp() + CAST(:longest_backoff AS interval))
     ORDER BY recorded_at
     -- Not the number itself: a LIMIT that the planner cannot see makes it walk the index in its order. Where it
     -- expects few rows, as it does until a burst was analyzed, it reads and sorts all of them for each batch.
     LIMIT (SELECT CAST(:batch AS bigint))
       FOR UPDATE SKIP LOCKED
)
SELECT kind, scopes, payload, attempts, trace, array_agg(id)
  FROM guard, locked
 GROUP BY kind, scopes, payload, attempts, trace
