"""Requests of own jobs during a run, and at rest: each that committed had its effect.

Which of them committed is known from the row that the transaction wrote beside the request, so an answer that
was lost changes nothing.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from random import Random

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from stoker.chaos.driver import Driver
from stoker.chaos.effects import EachTime, Once
from stoker.chaos.surroundings import REQUEST
from stoker.chaos.words import first
from stoker.postgres import database_errors

KINDS = (Once.kind, EachTime.kind)
ROLLED_BACK = 0.1
"""Share of the transactions."""
LONGEST_S = 0.6
"""Of a job, after its effect."""


LATEST_S = 3.0
"""Of the delay of every second one: it waits in the queue meanwhile."""


@dataclass(frozen=True)
class Requests:
    """Committed requests, and effects of their jobs."""

    committed: int
    effects: int
    dead: int
    """Requests whose job has a dead letter: its workers were killed too often."""
    duplicates: int
    """Effects beyond the first of jobs that have one for each run."""
    missing: tuple[str, ...]
    """Requests without an effect and without a dead letter."""
    doubled: tuple[str, ...]
    """Jobs that have their effect once for each id, and had it more often."""
    uncommitted: tuple[str, ...]
    """Jobs that had an effect, although the transaction that requested them was rolled back."""

    def wrong(self) -> list[str]:
        """What is wrong, in sentences."""
        found = {
            "committed requests had no effect": self.missing,
            "jobs that have their effect once had it more often": self.doubled,
            "jobs ran although their request was rolled back": self.uncommitted,
        }
        return [f"{len(ids)} {what}: {first(ids)}" for what, ids in found.items() if ids]


async def request_on(driver: Driver, rng: Random, per_s: float) -> None:
    """Let web apps request jobs at a mean rate, until cancelled."""
    while True:
        await asyncio.sleep(rng.expovariate(per_s))
        asked = {
            "kind": rng.choice(KINDS),
            "arguments": {"seconds": round(rng.uniform(0, LONGEST_S), 3)},
            "delay_s": rng.choice((0, rng.uniform(0, LATEST_S))),
            "commits": rng.random() >= ROLLED_BACK,
        }
        await driver.aside(REQUEST, asked)


async def count(sql: AsyncEngine) -> Requests:
    """Compare requests and effects; raises DatabaseUnavailable."""
    with database_errors():
        async with sql.connect() as connection:
            rows = (await connection.execute(_COMPARED)).all()
    requested = [row for row in rows if row.kind is not None]
    return Requests(
        committed=len(requested),
        effects=sum(row.effects for row in requested),
        dead=sum(row.is_dead for row in requested),
        duplicates=sum(max(0, row.effects - 1) for row in requested if row.kind == EachTime.kind),
        missing=tuple(row.job_id for row in requested if not row.effects and not row.is_dead),
        doubled=tuple(row.job_id for row in requested if row.effects > 1 and row.kind == Once.kind),
        uncommitted=tuple(row.job_id for row in rows if row.kind is None),
    )


_COMPARED = text("""
WITH effects AS (
    SELECT job_id, count(*) AS effects FROM chaos_effects GROUP BY job_id
), compared AS (
    SELECT job_id, kind, coalesce(effects.effects, 0) AS effects
      FROM chaos_requests FULL JOIN effects USING (job_id)
)
SELECT *, EXISTS (SELECT FROM stoker.dead_jobs WHERE dead_jobs.job_id = compared.job_id) AS is_dead
  FROM compared
""")
