-- Claims a slot of the schedule's ledger, or takes over one whose lease ran out before it was done.
-- In: task, slot, worker, lease (interval), begin_older. Out: one row if it is ours, none if it is another's
-- or done. A paused task claims none; its slots pass. Unless begin_older, a slot older than a claimed one is
-- never begun, because a worker may be late. Runs by hand do not count as slots here, nor do slots of the
-- future, which a wrong clock has claimed.
INSERT INTO stoker.schedule_slots (task, slot, state, claimed_by, lease_until)
SELECT CAST(:task AS varchar), CAST(:slot AS timestamptz), 'claimed', CAST(:worker AS varchar),
       clock_timestamp() + CAST(:lease AS interval)
WHERE (CAST(:begin_older AS boolean) OR NOT EXISTS (
    SELECT FROM stoker.schedule_slots
    WHERE task = CAST(:task AS varchar) AND slot > CAST(:slot AS timestamptz) AND slot <= clock_timestamp() AND asked_by IS NULL
)) AND NOT EXISTS (SELECT FROM stoker.schedule_pauses WHERE task = CAST(:task AS varchar))
ON CONFLICT (task, slot) DO UPDATE
SET state = 'claimed', claimed_by = excluded.claimed_by, claimed_at = clock_timestamp(),
    lease_until = excluded.lease_until
WHERE schedule_slots.state IN ('claimed', 'failed') AND schedule_slots.lease_until <= clock_timestamp()
RETURNING slot
