"""Whether each server works, and how fast it answers; never waits longer than the time limit.

A probe that hangs is abandoned: operators need an answer most when a server does not respond.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from functools import partial
from types import MappingProxyType

from pydantic import BaseModel, computed_field
from sqlalchemy import text

from stoker.errors import DatabaseUnavailable, StokerError
from stoker.redis.cache import CacheClient
from stoker.settings import Settings, address_of
from stoker.stoker import Stoker

Probe = Callable[[], Awaitable[object]]
NAMES = MappingProxyType({"database": "Postgres", "queue": "the queue Redis", "cache": "the cache Redis"})
"""What people call the servers."""
SLOW_MS = 250
"""An answer that took longer is called slow: a probe of a server that does well takes a few milliseconds."""


class ServerState(StrEnum):
    """How a server answers."""

    OK = "ok"
    SLOW = "slow"
    DOWN = "down"


def _state(ok: bool, ms: float | None) -> ServerState:  # noqa: FBT001 - the two facts of an answer
    if not ok:
        return ServerState.DOWN
    return ServerState.SLOW if ms is not None and ms > SLOW_MS else ServerState.OK


class NodeHealth(BaseModel):
    """A primary of a cluster, as this process uses it. `error`: why it reads its `slots` from SQL instead.

    `ms` is how long its answer took; None where it was not asked, or gave none.
    """

    address: str
    slots: int
    error: str | None = None
    ms: float | None = None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def state(self) -> ServerState:
        """As of a server."""
        return _state(self.error is None, self.ms)


class ServerHealth(BaseModel):
    """One server. `ms` is how long its answer took, or how long it was waited for.

    `address` says where this process looks for it; it never holds a user or a password. `nodes`: those of a
    cluster.
    """

    ok: bool
    ms: float
    error: str | None = None
    address: str = ""
    nodes: list[NodeHealth] = []
    silent: bool = False
    """Nothing was heard of it in time: it may be away, or slower than that."""

    @property
    def says(self) -> str:
        """What it does, to be said after its name."""
        return f"gave {self.error}" if self.silent else "does not answer"

    @computed_field  # type: ignore[prop-decorator]
    @property
    def state(self) -> ServerState:
        """Whether it answers, and whether it takes its time."""
        return _state(self.ok, self.ms)


class Health(BaseModel):
    """All servers; `ok` when each answers."""

    ok: bool
    servers: dict[str, ServerHealth]


def name_of(server: str) -> str:
    """What people call a server."""
    return NAMES.get(server, server)


def addresses(settings: Settings) -> Mapping[str, str]:
    """Where each server listens, without credentials."""
    urls = {
        "database": settings.database_url,
        "queue": settings.redis_url,
        "cache": settings.cache_redis_url or settings.redis_url,
    }
    return {name: address_of(url.get_secret_value()) for name, url in urls.items() if url is not None}


def probes(stoker: Stoker) -> Mapping[str, Probe]:
    """A probe of each server, over this process's connections."""

    async def database() -> None:
        async with stoker.engine.connect() as connection:
            if await connection.scalar(text("SELECT current_setting('transaction_read_only') = 'on'")):
                raise DatabaseUnavailable("Postgres takes no writes: it is a standby, or was made read-only")

    async def queue() -> None:
        await stoker.queue.redis.ping()

    return {"database": database, "queue": queue, "cache": partial(_ping, stoker.cache.store.client)}


async def health_of(stoker: Stoker, timeout_s: float) -> Health:
    """The health of the servers of a Stoker, with their addresses."""
    client = stoker.cache.store.client
    found, told = await asyncio.gather(
        examine(probes(stoker), timeout_s, addresses(stoker.settings)),
        examine({address: partial(_ping, one) for address, one in client.clients().items()}, timeout_s),
    )
    found.servers["cache"].nodes = [
        _node(address, slots, error, told.servers.get(address)) for address, slots, error in client.standing()
    ]
    return found


async def _ping(client: CacheClient) -> None:
    (await client.call(("PING",))).first()


def _node(address: str, slots: int, error: str | None, told: ServerHealth | None) -> NodeHealth:
    """`error`: why it is not used; `told`: how it answered, if it was asked."""
    if told is None:
        return NodeHealth(address=address, slots=slots, error=error)
    return NodeHealth(
        address=address, slots=slots, error=error or told.error, ms=told.ms if told.ok else None
    )


async def examine(
    probes: Mapping[str, Probe], timeout_s: float, addresses: Mapping[str, str] = MappingProxyType({})
) -> Health:
    """Ask every server at once."""
    began = time.monotonic()
    asked = {name: asyncio.create_task(_timed(probe)) for name, probe in probes.items()}
    if asked:  # a cache without nodes has none to ask
        await asyncio.wait(asked.values(), timeout=timeout_s)
    servers: dict[str, ServerHealth] = {}
    for name, task in asked.items():
        if task.done():
            found = task.result()
        else:
            task.cancel()  # Not awaited: a driver that hangs may take long to give up.
            waited_ms = (time.monotonic() - began) * 1000
            found = ServerHealth(
                ok=False, ms=round(waited_ms, 1), error=f"no answer within {timeout_s:g} s", silent=True
            )
        servers[name] = found.model_copy(update={"address": addresses.get(name, "")})
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
