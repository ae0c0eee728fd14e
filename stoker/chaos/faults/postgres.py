"""Faults of Postgres: an orderly restart, a kill after which it recovers from its log; and of a pooler."""

from __future__ import annotations

import asyncio

from stoker.chaos.faults.servers import down, frozen
from stoker.chaos.scene import Scene
from stoker.chaos.slots import Slot


async def restart(scene: Scene, _slot: Slot | None, lasts_s: float) -> None:
    """An orderly restart: sessions are ended."""
    postgres = scene.servers.postgres
    await asyncio.to_thread(postgres.stop)
    try:
        await asyncio.sleep(lasts_s)
    finally:
        await asyncio.to_thread(postgres.start)


async def pooler_restart(scene: Scene, _slot: Slot | None, lasts_s: float) -> None:
    """SIGKILL of the pooler: every connection to Postgres ends with it."""
    await down(scene.servers.pooler, lasts_s)


async def pooler_freeze(scene: Scene, _slot: Slot | None, lasts_s: float) -> None:
    """SIGSTOP of the pooler: transactions stay open behind it, with their locks."""
    await frozen(scene.servers.pooler, lasts_s)


async def kill(scene: Scene, _slot: Slot | None, lasts_s: float) -> None:
    """SIGKILL of all its processes: it recovers from its log."""
    await down(scene.servers.postgres, lasts_s)
