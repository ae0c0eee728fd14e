"""Faults of any server. Each heals what it did, also when the run is interrupted."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Redis

from stoker.embedded import Server


@asynccontextmanager
async def admin(server: Server) -> AsyncIterator[Any]:
    """A client of its own for one fault."""
    url: str = server.url  # type: ignore[attr-defined] # every server has one; the base class does not say so
    async with Redis.from_url(url, socket_timeout=20) as redis:
        yield redis


async def down(server: Server, lasts_s: float) -> None:
    """SIGKILL; it comes back with the data on its disk."""
    await asyncio.to_thread(server.kill)
    try:
        await asyncio.sleep(lasts_s)
    finally:
        await asyncio.to_thread(server.start)


async def frozen(server: Server, lasts_s: float) -> None:
    """SIGSTOP: it stops answering, and then answers all waiting requests at once."""
    os.kill(server.pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(lasts_s)
    finally:
        os.kill(server.pid, signal.SIGCONT)
