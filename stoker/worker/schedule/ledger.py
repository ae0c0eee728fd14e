"""The schedule's ledger in Postgres: which worker claimed a slot, and whether it was done.

Claiming is one atomic statement, so any number of workers run a slot once. A worker that dies between claim
and done leaves a lease that runs out; the slot is then claimed again. Raises DatabaseUnavailable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.resources import files

from sqlalchemy import func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from stoker.postgres import database_errors
from stoker.tables import schedule_slots as slots

CLAIM = text(files("stoker.worker.schedule").joinpath("claim_slot.sql").read_text())
ERROR_CHARACTERS = 500
UNFINISHED = ("claimed", "failed")


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

    async def claim(self, task: str, slot: datetime, lease: timedelta, *, begin_older: bool = False) -> bool:
        """Take a slot; false if it is another worker's, or done, or its task is paused.

        Unless `begin_older`, older slots that were never done are then never begun.
        """
        values = {
            "task": task,
            "slot": slot,
            "worker": self._worker,
            "lease": lease,
            "begin_older": begin_older,
        }
        with database_errors():
            async with self._engine.begin() as connection:
                if (await connection.execute(CLAIM, values)).first() is None:
                    return False
                if begin_older:
                    return True
                await connection.execute(
                    update(slots)
                    .where(
                        slots.c.task == task,
                        slots.c.slot < slot,
                        slots.c.state.in_(UNFINISHED),
                        slots.c.lease_until <= func.clock_timestamp(),
                    )
                    .values(state="skipped")
                )
                return True

    async def state(self, task: str, slot: datetime) -> SlotState:
        """The state of a slot; one without a row was passed over for a later one."""
        left = slots.c.lease_until - func.clock_timestamp()
        with database_errors():
            async with self._engine.connect() as connection:
                row = (
                    await connection.execute(
                        select(slots.c.state, left).where(slots.c.task == task, slots.c.slot == slot)
                    )
                ).first()
        return SlotState("skipped", timedelta(0)) if row is None else SlotState(row[0], row[1])

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

    async def last_job(self, task: str) -> str | None:
        """The job of the task's last slot, or of its last run by hand."""
        query = (
            select(slots.c.job_id)
            .where(slots.c.task == task, slots.c.job_id.is_not(None))
            .order_by(slots.c.slot.desc())
            .limit(1)
        )
        with database_errors():
            async with self._engine.connect() as connection:
                found: str | None = await connection.scalar(query)
                return found

    async def done(self, task: str, slot: datetime, job_id: str | None = None) -> None:
        """Mark a slot that is still ours as done: its job is enqueued."""
        await self._settle(
            task, slot, state="done", done_at=func.clock_timestamp(), error=None, job_id=job_id
        )

    async def overlapped(self, task: str, slot: datetime) -> None:
        """Mark a slot that is still ours as skipped, because the job before it has not ended."""
        await self._settle(task, slot, state="skipped", error="the task's last job has not ended")

    async def failed(self, task: str, slot: datetime, error: str, retry: timedelta) -> None:
        """Give a slot back: any worker may claim it after `retry`."""
        await self._settle(
            task,
            slot,
            state="failed",
            error=error[:ERROR_CHARACTERS],
            lease_until=func.clock_timestamp() + retry,
        )

    async def skip(self, task: str, slot: datetime) -> None:
        """Mark a slot as skipped, unless a worker has claimed it."""
        with database_errors():
            async with self._engine.begin() as connection:
                await connection.execute(
                    insert(slots)
                    .values(
                        task=task,
                        slot=slot,
                        state="skipped",
                        claimed_by=self._worker,
                        lease_until=func.clock_timestamp(),
                    )
                    .on_conflict_do_nothing()
                )

    async def _settle(self, task: str, slot: datetime, **values: object) -> None:
        mine = (slots.c.task == task, slots.c.slot == slot, slots.c.claimed_by == self._worker)
        with database_errors():
            async with self._engine.begin() as connection:
                await connection.execute(
                    update(slots).where(*mine, slots.c.state == "claimed").values(**values)
                )
