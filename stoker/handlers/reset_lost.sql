-- Requests that were delivered to another life of the queue: it may have lost them, so they are undelivered again,
-- unless their job has ended or they are older than the queue remembers an id for. These count as delivered to this life.
-- In: life, batch, kept_s. Out: how many rows were judged, and how many of them are to be delivered again.
WITH elsewhere AS (
    (SELECT seq FROM stoker.job_requests WHERE delivered_to < :life LIMIT :batch)
    UNION ALL
    (SELECT seq FROM stoker.job_requests WHERE delivered_to > :life LIMIT :batch)
), locked AS (
    SELECT seq, job_id, requested_at
      FROM stoker.job_requests
     WHERE seq IN (SELECT seq FROM elsewhere) AND delivered_to <> :life
     ORDER BY seq
       FOR UPDATE SKIP LOCKED
), judged AS (
    SELECT seq, requested_at > clock_timestamp() - make_interval(secs => :kept_s)
                AND NOT EXISTS (SELECT FROM stoker.job_ends WHERE job_ends.job_id = locked.job_id) AS lost
      FROM locked
), reset AS (
    UPDATE stoker.job_requests AS request
       SET delivered_at = CASE WHEN lost THEN NULL ELSE request.delivered_at END,
           delivered_to = CASE WHEN lost THEN NULL ELSE :life END
      FROM judged
     WHERE request.seq = judged.seq
    RETURNING lost
)
SELECT count(*) AS judged, count(*) FILTER (WHERE lost) AS lost FROM reset
