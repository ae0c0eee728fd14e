"""The demonstration's web app in a process of its own, whose writes record an event, nothing, or a bare row.

`python -m bench.peers.webapp ours|silent|bare`; the environment names the servers.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from dataclasses import replace
from typing import Any, cast

import uvicorn
from sqlalchemy import column, event, insert, literal_column, table
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

import jobs
from bench.peers.protocol import serve
from jobs.rules import LISTS, PAGES
from jobs.scopes import PROJECT, USER
from stoker import Event, Invalidation, Rule, Stoker, TransactionReceipt
from stoker.outbox.record import AnySession
from stoker.outbox.scopes import encode
from worker.demo.webapp import app

BARE = table("bench_row", column("kind"), column("payload", JSONB), column("scopes", JSONB))
BARE_INSERT: Any = insert(BARE).returning(literal_column("id"))
UNSAID = "bench.unsaid"
KEPT_S = 600
"""A connection waits while the other sides take their turns."""


class Updated(Event):
    """A project was updated, as an application says it that captures nothing."""

    kind = "bench.project_updated"
    project_id: int
    audience: tuple[int, ...]


def updated(event: Updated) -> list[Invalidation]:
    """Its pages, and the lists of everyone who can see it."""
    lists = [Invalidation(USER.scope(number), LISTS) for number in event.audience]
    return [Invalidation(PROJECT.scope(event.project_id), PAGES), *lists]


UPDATED = Updated(project_id=1, audience=(1, 2, 3))
domain = replace(jobs.domain, rules=(*jobs.domain.rules, Rule(Updated, updated)), captures=())


class Nothing:
    """A receipt of nothing."""

    transaction_id = 0


class Silent(Stoker):
    """Records nothing and rings nobody."""

    def applied(self, session: AnySession) -> TransactionReceipt:
        """In the place of what the writes say: they leave the recording to Postgres."""
        self.tell(session)
        return cast("TransactionReceipt", Nothing)

    def tell(self, session: AnySession) -> None:
        """Say nothing."""


class Recording(Silent):
    """Records an event."""

    def tell(self, session: AnySession) -> None:
        """Record it in the session's transaction."""
        self.record(session, UPDATED)


class Bare(Silent):
    """Writes one row in the same transaction instead, as any audit log does."""

    def tell(self, session: AnySession) -> None:
        """Let the commit bring one bare INSERT of what our row says."""
        assert isinstance(session, AsyncSession)
        sync = session.sync_session
        sync.info[UNSAID] = {
            "kind": UPDATED.kind,
            "payload": UPDATED.model_dump(mode="json"),
            "scopes": encode(updated(UPDATED), self.domain),
        }


STOKERS = {"ours": Recording, "silent": Silent, "bare": Bare}


def _insert(session: Session) -> None:
    if UNSAID in session.info:
        session.execute(BARE_INSERT, session.info.pop(UNSAID)).scalar_one()


class _Site:
    def __init__(self, kind: type[Stoker]) -> None:
        self._kind = kind
        self._serving: asyncio.Task[None] | None = None

    async def listen(self, path: str) -> None:
        """Serve on a Unix socket."""
        app.state.stoker = await self._kind.open(domain=domain)
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(path)
        listening.listen()
        server = uvicorn.Server(
            uvicorn.Config(app, lifespan="off", log_level="warning", timeout_keep_alive=KEPT_S)
        )
        self._serving = asyncio.create_task(server.serve([listening]))


def main() -> None:
    """Answer the driver."""
    event.listen(Session, "before_commit", _insert)
    serve(listen=_Site(STOKERS[sys.argv[1]]).listen)


if __name__ == "__main__":
    main()
