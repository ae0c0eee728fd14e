"""Faults of Postgres: an orderly restart, and a kill after which it recovers from its log."""

from __future__ import annotations

import asyncio

from stoker.chaos.faults.servers import down
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


async def kill(scene: Scene, _slot: Slot | None, lasts_s: float) -> None:
    """SIGKILL of all its processes: it recovers from its log."""
    await down(scene.servers.postgres, lasts_s)
