"""The demonstration's web app in a process of its own, as it is or with a Stoker that records less.

`python -m bench.peers.webapp ours|silent|bare`; the environment names the servers.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Any, cast

import uvicorn
from sqlalchemy import column, event, insert, literal_column, table
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from bench.peers.protocol import serve
from stoker import Event, Receipt, Stoker
from stoker.outbox.record import AnySession
from stoker.outbox.scopes import encode
from worker.demo.webapp import app

BARE = table("bench_row", column("kind"), column("payload", JSONB), column("scopes", JSONB))
BARE_INSERT: Any = insert(BARE).returning(literal_column("id"))
UNSAID = "bench.unsaid"
KEPT_S = 600
"""A connection waits while the other sides take their turns."""


class Nothing:
    """A receipt of nothing."""

    event_id = 0


class Silent(Stoker):
    """Records nothing and rings nobody."""

    def record(self, session: AnySession, event: Event) -> Receipt:
        """Forget the event."""
        return cast("Receipt", Nothing)


class Bare(Silent):
    """Writes one row in the same transaction instead, as any audit log does."""

    def record(self, session: AnySession, event: Event) -> Receipt:
        """Let the commit bring one bare INSERT of what our row says."""
        assert isinstance(session, AsyncSession)
        sync = session.sync_session
        invalidations = self.domain.rules_by_kind[event.kind].invalidates(event)
        sync.info[UNSAID] = {
            "kind": event.kind,
            "payload": event.model_dump(mode="json"),
            "scopes": encode(invalidations, self.domain),
        }
        return super().record(session, event)


STOKERS = {"ours": Stoker, "silent": Silent, "bare": Bare}


def _insert(session: Session) -> None:
    if UNSAID in session.info:
        session.execute(BARE_INSERT, session.info.pop(UNSAID)).scalar_one()


class _Site:
    def __init__(self, kind: type[Stoker]) -> None:
        self._kind = kind
        self._serving: asyncio.Task[None] | None = None

    async def listen(self, path: str) -> None:
        """Serve on a Unix socket."""
        app.state.stoker = await self._kind.open()
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
