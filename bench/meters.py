"""What the servers and processes spend: commands, bytes and CPU time, read before and after some work."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from redis.asyncio import Redis
from sqlalchemy import text

from bench.ground import Bench
from bench.processes import cpu_s
from stoker.driver import LimitedEngine
from stoker.postgres import engine_of

NAMES = (
    *("cache commands", "cache bytes in", "cache bytes out", "cache CPU us"),
    *("queue commands", "queue bytes in", "queue bytes out", "queue CPU us"),
    *("Postgres transactions", "Postgres WAL bytes", "Postgres CPU us"),
    *("worker CPU us", "web CPU us"),
)
"""What is metered, in this order."""
POSTGRES = text(
    "SELECT (SELECT sum(xact_commit + xact_rollback) FROM pg_stat_database),"
    " pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')"
)
CONNECTIONS = text("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'")
Costs = dict[str, float]


@dataclass
class Meters:
    """The servers of a bench, asked over connections of its own; and processes of this machine."""

    queue: Redis
    cache: Redis
    sql: LimitedEngine
    postmaster: int
    workers: Sequence[int] = ()

    @classmethod
    async def of(cls, bench: Bench) -> Meters:
        """Connect."""
        sql = engine_of(bench.urls.database)
        async with sql.connect() as connection:
            place = Path(str(await connection.scalar(text("SHOW data_directory"))))
        postmaster = int((place / "postmaster.pid").read_text().split("\n", 1)[0])
        return cls(Redis.from_url(bench.urls.queue), Redis.from_url(bench.urls.cache), sql, postmaster)

    async def close(self) -> None:
        """Disconnect."""
        await self.queue.aclose()
        await self.cache.aclose()
        await self.sql.dispose()

    async def read(self) -> list[float]:
        """All meters, in the order of NAMES."""
        found: list[float] = []
        for server in (self.cache, self.queue):
            info = await server.info("everything")
            found += [
                float(info["total_commands_processed"]),
                float(info["total_net_input_bytes"]),
                float(info["total_net_output_bytes"]),
                1e6 * (info["used_cpu_user"] + info["used_cpu_sys"]),
            ]
        async with self.sql.connect() as connection:
            transactions, wal = (await connection.execute(POSTGRES)).one()
        found += [float(transactions), float(wal), 1e6 * cpu_s(self.postmaster)]
        return [*found, 1e6 * sum(map(cpu_s, self.workers)), 1e6 * time.process_time()]

    async def connections(self) -> dict[str, int]:
        """Those that each server has, ours included."""
        async with self.sql.connect() as connection:
            postgres = int(await connection.scalar(CONNECTIONS) or 0)
        clients = {
            name: int((await server.info("clients"))["connected_clients"])
            for name, server in (("cache", self.cache), ("queue", self.queue))
        }
        return {**clients, "Postgres": postgres}

    async def spent(self, work: Callable[[], Awaitable[object]], times: float, idle: Costs) -> Costs:
        """What one of so many `times` costs; `idle`, what is spent a second anyway, is taken off."""
        before, started = await self.read(), time.monotonic()
        await work()
        after, took_s = await self.read(), time.monotonic() - started
        return {
            name: max(0.0, (b - a) - idle.get(name, 0.0) * took_s) / times
            for name, a, b in zip(NAMES, before, after, strict=True)
        }
