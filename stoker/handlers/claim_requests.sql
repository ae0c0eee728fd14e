-- Locks requests of jobs that are not delivered, the oldest first; those that another worker has are left to it.
-- In: batch. Out: their rows.
SELECT seq, job_id, lane, kind, arguments, flag, alone, due_at, trace
  FROM stoker.job_requests
 WHERE delivered_at IS NULL
 ORDER BY seq
 LIMIT :batch
   FOR UPDATE SKIP LOCKED
