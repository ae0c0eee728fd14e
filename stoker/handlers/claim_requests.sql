-- Locks requests of jobs that are not delivered, the oldest first; those that another worker holds are passed over.
-- Returns at least one, and at most about `bytes` of arguments; the commit releases the others.
-- In: batch, bytes. Out: their rows, in `locked` how many there were, and in `ended` whether the job has ended already:
-- a worker was killed after it had delivered it and before it could mark the row.
WITH locked AS (
    SELECT seq, job_id, lane, kind, arguments, flag, alone, fair, due_at, trace
      FROM stoker.job_requests
     WHERE delivered_at IS NULL
     ORDER BY seq
     LIMIT :batch
       FOR UPDATE SKIP LOCKED
), measured AS (
    SELECT *, count(*) OVER () AS locked, octet_length(arguments::text) AS bytes,
           sum(octet_length(arguments::text)) OVER (ORDER BY seq) AS bytes_with_it
      FROM locked
)
SELECT *, EXISTS (SELECT FROM stoker.job_ends WHERE job_ends.job_id = measured.job_id) AS ended
  FROM measured
 WHERE bytes_with_it - bytes < :bytes
 ORDER BY seq
