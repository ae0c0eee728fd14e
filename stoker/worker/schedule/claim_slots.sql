-- Claims slots of the schedule's ledger, or takes over those whose lease ran out before they were done.
-- In: tasks, slots (arrays of one length), worker, lease (interval), begin_older. Out: a row for each slot that
-- is ours; none for one that is another's or done. A paused task claims none; its slots pass. Unless
-- begin_older, a slot older than a claimed one is never begun, because a worker may be late. Runs by hand do not
-- count as slots here, nor do slots of the future, which a wrong clock has claimed.
INSERT INTO stoker.schedule_slots (task, slot, state, claimed_by, lease_until)
SELECT wanted.task, wanted.slot, 'claimed', CAST(:worker AS varchar), clock_timestamp() + CAST(:lease AS interval)
  FROM unnest(CAST(:tasks AS varchar[]), CAST(:slots AS timestamptz[])) AS wanted (task, slot)
 WHERE (CAST(:begin_older AS boolean) OR NOT EXISTS (
    SELECT FROM stoker.schedule_slots AS newer
     WHERE newer.task = wanted.task AND newer.slot > wanted.slot AND newer.slot <= clock_timestamp()
       AND newer.asked_by IS NULL
   )) AND NOT EXISTS (SELECT FROM stoker.schedule_pauses AS paused WHERE paused.task = wanted.task)
 -- The same order in every worker: so no two of them wait for each other's slots.
 ORDER BY wanted.task, wanted.slot
ON CONFLICT (task, slot) DO UPDATE
SET state = 'claimed', claimed_by = excluded.claimed_by, claimed_at = clock_timestamp(),
    lease_until = excluded.lease_until
WHERE schedule_slots.state IN ('claimed', 'failed') AND schedule_slots.lease_until <= clock_timestamp()
RETURNING task, slot
