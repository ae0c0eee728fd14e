"""Whether each server works, and how fast it answers; never waits longer than the time limit.

A probe that hangs is abandoned: operators need an answer most when a server does not respond.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

from pydantic import BaseModel
from sqlalchemy import text

from stoker.errors import DatabaseUnavailable, StokerError
from stoker.stoker import Stoker

Probe = Callable[[], Awaitable[object]]


class ServerHealth(BaseModel):
    """One server. `ms` is how long its answer took, or how long it was waited for."""

    ok: bool
    ms: float
    error: str | None = None


class Health(BaseModel):
    """All servers; `ok` when each answers."""

    ok: bool
    servers: dict[str, ServerHealth]


def probes(stoker: Stoker) -> Mapping[str, Probe]:
    """A probe of each server, over this process's connections."""

    async def database() -> None:
        async with stoker.engine.connect() as connection:
            if await connection.scalar(text("SELECT current_setting('transaction_read_only') = 'on'")):
                raise DatabaseUnavailable("Postgres takes no writes: it is a standby, or was made read-only")

    async def queue() -> None:
        await stoker.queue.redis.ping()

    async def cache() -> None:
        (await stoker.cache.store.client.call(("PING",))).first()

    return {"database": database, "queue": queue, "cache": cache}


async def examine(probes: Mapping[str, Probe], timeout_s: float) -> Health:
    """Ask every server at once."""
    began = time.monotonic()
    asked = {name: asyncio.create_task(_timed(probe)) for name, probe in probes.items()}
    await asyncio.wait(asked.values(), timeout=timeout_s)
    servers: dict[str, ServerHealth] = {}
    for name, task in asked.items():
        if task.done():
            servers[name] = task.result()
        else:
            task.cancel()  # Not awaited: a driver that hangs may take long to give up.
            waited_ms = (time.monotonic() - began) * 1000
            servers[name] = ServerHealth(ok=False, ms=round(waited_ms, 1), error="no answer in time")
    return Health(ok=all(server.ok for server in servers.values()), servers=servers)


async def _timed(probe: Probe) -> ServerHealth:
    began = time.monotonic()
    error: str | None = None
    try:
        await probe()
    except Exception as failure:  # noqa: BLE001 - whatever a driver raises means that the server is not well
        shown = str(failure) if isinstance(failure, StokerError) else f"{type(failure).__name__}: {failure}"
        error = shown.splitlines()[0][:200]
    return ServerHealth(ok=error is None, ms=round((time.monotonic() - began) * 1000, 1), error=error)
