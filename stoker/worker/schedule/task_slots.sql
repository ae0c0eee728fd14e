-- The last slots of each task of the schedule, with what became of their jobs, the newest first.
-- In: tasks (names), slots (how many of each). Out: one row per slot; a task without any has one, all NULL.
SELECT task.name AS task, pause.actor AS paused_by, pause.at AS paused_at, slot.*
FROM unnest(CAST(:tasks AS varchar[])) WITH ORDINALITY AS task (name, place)
LEFT JOIN stoker.schedule_pauses AS pause ON pause.task = task.name
LEFT JOIN LATERAL (
    SELECT slots.slot, slots.state, slots.asked_by, slots.job_id, slots.claimed_at,
           greatest(0, extract(epoch FROM slots.claimed_at - slots.slot))::float8 AS late_s,
           run.waited_s, run.ran_s, run.outcome, coalesce(run.error, slots.error) AS error
    FROM stoker.schedule_slots AS slots
    LEFT JOIN LATERAL (
        SELECT waited_s, ran_s, outcome, error FROM stoker.job_history
        WHERE job_id = slots.job_id ORDER BY id DESC LIMIT 1
    ) AS run ON true
    WHERE slots.task = task.name
    ORDER BY slots.slot DESC
    LIMIT :slots
) AS slot ON true
ORDER BY task.place, slot.slot DESC
