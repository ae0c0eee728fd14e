"""The web request that updates a project: recording its event and ringing, against recording nothing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any, cast

from sqlalchemy import column, event, insert, literal_column, table, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from jobs import Event, Receipt, Stoker
from jobs.outbox.scopes import encode
from jobs.projects.inputs import ProjectChanges
from jobs.projects.service import ProjectService
from tests.bench.blocks import alternate
from tests.bench.changes import Change, changes
from tests.bench.figures import Figure
from tests.bench.ground import Bench

IDS = ("record-cost", "record-cost-insert")
REQUESTS = 30
ROUNDS = 4
"""Rounds to a block of other rows; a commit's cost changes by the second, so rounds are short."""
BARE_TABLE = text(
    "CREATE TABLE IF NOT EXISTS bench_row (id bigserial PRIMARY KEY, kind text, payload jsonb, scopes jsonb)"
)
BARE = table("bench_row", column("kind"), column("payload", JSONB), column("scopes", JSONB))
BARE_INSERT: Any = insert(BARE).returning(literal_column("id"))
UNSAID = "bench.unsaid"


class Silent(Stoker):
    """Records nothing and rings nobody."""

    def record(self, session: AsyncSession | Session, event: Event) -> Receipt:
        """Forget the event."""
        return cast("Receipt", None)


class Bare(Silent):
    """Writes one row in the same transaction instead, as any audit log does."""

    def record(self, session: AsyncSession | Session, event: Event) -> Receipt:
        """Let the commit bring one bare INSERT of what our row says."""
        sync = session.sync_session if isinstance(session, AsyncSession) else session
        invalidations = self.domain.rules_by_kind[event.kind].invalidates(event)
        sync.info[UNSAID] = {
            "kind": event.kind,
            "payload": event.model_dump(mode="json"),
            "scopes": encode(invalidations, self.domain),
        }
        return cast("Receipt", None)


def _insert(session: Session) -> None:
    if UNSAID in session.info:
        session.execute(BARE_INSERT, session.info.pop(UNSAID)).scalar_one()


async def measure(bench: Bench) -> list[Figure]:
    """Requests one after the other; no worker runs, so that only what the web app pays is seen."""
    count = bench.scale.count(REQUESTS, least=10)
    event.listen(Session, "before_commit", _insert)
    async with AsyncExitStack() as stack:
        ours = await stack.enter_async_context(bench.stoker())
        silent = await stack.enter_async_context(Silent.opened(bench.settings()))
        bare = await stack.enter_async_context(Bare.opened(bench.settings()))
        async with ours.session() as session, session.begin():
            await session.execute(BARE_TABLE)
        wanted = await changes(ours, count)
        recording, nothing, inserting = await alternate(
            bench.scale.blocks * ROUNDS,
            lambda: _updates(ours, wanted),
            lambda: _updates(silent, wanted),
            lambda: _updates(bare, wanted),
        )
    event.remove(Session, "before_commit", _insert)
    note = "the row says what ours says, its id is returned"
    return [
        Figure("record-cost", "the same recording nothing", "us", "<= 1.2", recording, nothing),
        Figure(
            "record-cost-insert", "the same with a bare INSERT", "us", "<= 1.05", recording, inserting, note
        ),
    ]


async def _updates(stoker: Stoker, wanted: Sequence[Change]) -> float:
    async with stoker.session() as session, session.begin():
        await session.execute(text("TRUNCATE cache_events, bench_row"))
    service = ProjectService(stoker)
    started = time.perf_counter()
    for one in wanted:
        await service.update_project(one.owner, one.project, ProjectChanges(intended_use="Measure."))
    return (time.perf_counter() - started) / len(wanted) * 1e6
