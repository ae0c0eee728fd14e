"""What the verifier found: entries that were stale though every change was applied; acknowledge them.

Each was healed when it was found. It counts as a concern until somebody has acknowledged it. Raises
DatabaseUnavailable.
"""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel
from sqlalchemy import func, select, true, update

from stoker.operations.audit import Actor, acting
from stoker.postgres import fetched
from stoker.stoker import Stoker
from stoker.tables import stale_findings


class StaleFinding(BaseModel):
    """An entry that was found stale. `differs`: places, no values; `suspects`: rows written since then."""

    id: int
    view: str
    scope: str
    params: str
    age_s: float
    differs: list[str]
    suspects: list[str]
    found_at: datetime
    found_by: str
    acknowledged_at: datetime | None
    acknowledged_by: str | None


class Findings(BaseModel):
    """The latest first. `open`: how many nobody has acknowledged, of all that are kept."""

    findings: list[StaleFinding]
    open: int
    of: int


class Acknowledged(BaseModel):
    """How many findings were acknowledged."""

    acknowledged: int


async def listing(stoker: Stoker, limit: int, before: int | None = None, *, every: bool = False) -> Findings:
    """Findings that nobody has acknowledged, or all that are kept (90 days)."""
    columns = stale_findings.c
    chosen = true() if every else columns.acknowledged_at.is_(None)
    older = true() if before is None else columns.id < before
    query = select(stale_findings).where(chosen, older).order_by(columns.id.desc()).limit(limit)
    unseen = func.count().filter(columns.acknowledged_at.is_(None)).label("unseen")
    rows = await fetched(stoker.engine, query)
    (counted,) = await fetched(stoker.engine, select(unseen, func.count().label("of")))
    return Findings(findings=[StaleFinding(**row) for row in rows], open=counted["unseen"], of=counted["of"])


async def unacknowledged(stoker: Stoker) -> int:
    """How many findings nobody has acknowledged; from a partial index."""
    query = select(func.count()).where(stale_findings.c.acknowledged_at.is_(None))
    (row,) = await fetched(stoker.engine, query)
    return int(row["count_1"])


async def acknowledge(stoker: Stoker, actor: Actor, up_to: int, only: int | None = None) -> Acknowledged:
    """Acknowledge one finding, or all up to an id: what was found later has not been seen."""
    columns = stale_findings.c
    chosen = columns.id <= up_to if only is None else columns.id == only
    arguments = {"up_to": up_to} if only is None else {"id": only}
    async with acting(stoker, actor, "cache.acknowledge", arguments) as session:
        done = await session.execute(
            update(stale_findings)
            .where(chosen, columns.acknowledged_at.is_(None))
            .values(acknowledged_at=func.clock_timestamp(), acknowledged_by=actor.name[:64])
            .returning(columns.id)
        )
        return Acknowledged(acknowledged=len(done.all()))
