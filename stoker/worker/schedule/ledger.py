"""The schedule's ledger in Postgres: which worker claimed a slot, and whether it was done.

Claiming is one atomic statement for all slots that are due, so any number of workers run a slot once. A
worker that dies between claim and done leaves a lease that runs out; the slot is then claimed again. Raises
DatabaseUnavailable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.resources import files
from typing import Any, NamedTuple

from sqlalchemy import func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from stoker.postgres import database_errors
from stoker.tables import schedule_slots as slots

CLAIM = text(files("stoker.worker.schedule").joinpath("claim_slots.sql").read_text())
ERROR_CHARACTERS = 500
UNFINISHED = ("claimed", "failed")
PASS_OVER = text("""
UPDATE stoker.schedule_slots AS older SET state = 'skipped'
  FROM unnest(CAST(:tasks AS varchar[]), CAST(:slots AS timestamptz[])) AS claimed (task, slot)
 WHERE older.task = claimed.task AND older.slot < claimed.slot AND older.state IN ('claimed', 'failed')
   AND older.lease_until <= clock_timestamp()
""")
STATES = text("""
SELECT mine.task, mine.slot, mine.state, mine.lease_until - clock_timestamp()
  FROM stoker.schedule_slots AS mine
  JOIN unnest(CAST(:tasks AS varchar[]), CAST(:slots AS timestamptz[])) AS asked (task, slot)
    ON mine.task = asked.task AND mine.slot = asked.slot
""")
LAST_JOBS = text("""
SELECT asked.task, last.job_id
  FROM unnest(CAST(:tasks AS varchar[])) AS asked (task), LATERAL (
    SELECT job_id FROM stoker.schedule_slots AS ran
     WHERE ran.task = asked.task AND job_id IS NOT NULL ORDER BY slot DESC LIMIT 1
  ) AS last
""")
DONE = text("""
UPDATE stoker.schedule_slots AS mine
   SET state = 'done', done_at = clock_timestamp(), error = NULL, job_id = ended.job_id
  FROM unnest(CAST(:tasks AS varchar[]), CAST(:slots AS timestamptz[]), CAST(:job_ids AS varchar[]))
       AS ended (task, slot, job_id)
 WHERE mine.task = ended.task AND mine.slot = ended.slot AND mine.claimed_by = :worker
   AND mine.state = 'claimed'
""")


class Slot(NamedTuple):
    """One time of one task of the schedule."""

    task: str
    at: datetime


@dataclass(frozen=True)
class SlotState:
    """A slot that cannot be claimed: done, skipped, or held by another until `lease_left` has passed."""

    state: str
    lease_left: timedelta

    @property
    def settled(self) -> bool:
        """Whether nothing is left to do for this slot."""
        return self.state not in UNFINISHED


class Ledger:
    """The ledger as one worker sees it; `worker` names it in the rows."""

    def __init__(self, engine: AsyncEngine, worker: str) -> None:
        self._engine = engine
        self._worker = worker

    async def now(self) -> datetime:
        """Postgres' clock, which every worker's schedule goes by."""
        with database_errors():
            async with self._engine.connect() as connection:
                found: datetime = (await connection.execute(select(func.clock_timestamp()))).scalar_one()
                return found

    async def claim(
        self, wanted: Sequence[Slot], lease: timedelta, *, begin_older: bool = False
    ) -> set[Slot]:
        """Take slots; returns those that are now ours.

        The others are another worker's, or done, or their task is paused. Unless `begin_older`, older slots
        that were never done are then never begun.
        """
        values = {"worker": self._worker, "lease": lease, "begin_older": begin_older}
        with database_errors():
            async with self._engine.begin() as connection:
                rows = await connection.execute(CLAIM, _arrays(wanted) | values)
                claimed = {Slot(*row) for row in rows}
                if claimed and not begin_older:
                    await connection.execute(PASS_OVER, _arrays(list(claimed)))
        return claimed

    async def states(self, asked: Sequence[Slot]) -> dict[Slot, SlotState]:
        """The state of each; a slot without a row was passed over for a later one."""
        with database_errors():
            async with self._engine.connect() as connection:
                rows = (await connection.execute(STATES, _arrays(asked))).all()
        found = {Slot(task, at): SlotState(state, left) for task, at, state, left in rows}
        return {slot: found.get(slot, SlotState("skipped", timedelta(0))) for slot in asked}

    async def owed(self, task: str, passed: Sequence[datetime]) -> list[datetime]:
        """Which of the passed slots, the newest first, were never begun or not done; the oldest first.

        Of a task that never ran, the newest one only.
        """
        mine = (slots.c.task == task, slots.c.asked_by.is_(None), slots.c.slot <= passed[0])
        query = select(slots.c.slot).where(*mine, slots.c.slot >= passed[-1], slots.c.state.in_(UNFINISHED))
        with database_errors():
            async with self._engine.connect() as connection:
                unfinished = set((await connection.execute(query)).scalars())
                last = await connection.scalar(select(func.max(slots.c.slot)).where(*mine))
        missing = {passed[0]} if last is None else {slot for slot in passed if slot > last}
        return sorted(unfinished | missing)[-len(passed) :]

    async def has_begun(self, task: str) -> bool:
        """Whether a slot of the task was ever claimed or skipped."""
        with database_errors():
            async with self._engine.connect() as connection:
                return (
                    await connection.scalar(select(slots.c.slot).where(slots.c.task == task).limit(1))
                    is not None
                )

    async def last_jobs(self, asked: Sequence[str]) -> dict[str, str]:
        """The job of the last slot of each task, or of its last run by hand, where it had one."""
        with database_errors():
            async with self._engine.connect() as connection:
                rows = (await connection.execute(LAST_JOBS, {"tasks": list(asked)})).all()
        return {row.task: row.job_id for row in rows}

    async def done(self, jobs: Mapping[Slot, str | None]) -> None:
        """Mark slots that are still ours as done: the job of each, whose id is given, is enqueued."""
        values = {"job_ids": list(jobs.values()), "worker": self._worker}
        with database_errors():
            async with self._engine.begin() as connection:
                await connection.execute(DONE, _arrays(list(jobs)) | values)

    async def overlapped(self, slot: Slot) -> None:
        """Mark a slot that is still ours as skipped, because the job before it has not ended."""
        await self._settle(slot, state="skipped", error="the task's last job has not ended")

    async def failed(self, slot: Slot, error: str, retry: timedelta) -> None:
        """Give a slot back: any worker may claim it after `retry`."""
        await self._settle(
            slot,
            state="failed",
            error=error[:ERROR_CHARACTERS],
            lease_until=func.clock_timestamp() + retry,
        )

    async def skip(self, slot: Slot) -> None:
        """Mark a slot as skipped, unless a worker has claimed it."""
        with database_errors():
            async with self._engine.begin() as connection:
                await connection.execute(
                    insert(slots)
                    .values(
                        task=slot.task,
                        slot=slot.at,
                        state="skipped",
                        claimed_by=self._worker,
                        lease_until=func.clock_timestamp(),
                    )
                    .on_conflict_do_nothing()
                )

    async def _settle(self, slot: Slot, **values: object) -> None:
        mine = (slots.c.task == slot.task, slots.c.slot == slot.at, slots.c.claimed_by == self._worker)
        with database_errors():
            async with self._engine.begin() as connection:
                await connection.execute(
                    update(slots).where(*mine, slots.c.state == "claimed").values(**values)
                )


def _arrays(asked: Sequence[Slot]) -> dict[str, Any]:
    return {"tasks": [slot.task for slot in asked], "slots": [slot.at for slot in asked]}
