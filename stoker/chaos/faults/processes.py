"""Faults of workers and web apps: killed at work, frozen, replaced by another release."""

from __future__ import annotations

import asyncio

from stoker.chaos.scene import Scene
from stoker.chaos.slots import Slot

BURST = 15
"""Changes that are sent together just before a worker is killed, so that it is killed at work."""


async def kill(scene: Scene, slot: Slot | None, lasts_s: float) -> None:
    """SIGKILL in the middle of work, then some time without the process."""
    assert slot is not None  # noqa: S101 - its target is a slot
    burst = [asyncio.ensure_future(scene.driver.edit()) for _ in range(BURST)]
    await asyncio.sleep(scene.rng.uniform(0.005, 0.08))
    slot.kill()
    await asyncio.sleep(lasts_s)
    slot.start()
    await slot.ready()
    await asyncio.gather(*burst)


async def freeze(scene: Scene, slot: Slot | None, lasts_s: float) -> None:
    """SIGSTOP, and SIGCONT after others may have taken over its jobs."""
    assert slot is not None  # noqa: S101 - its target is a slot
    del scene
    slot.freeze()
    try:
        await asyncio.sleep(lasts_s)
    finally:
        slot.thaw()


async def deploy(scene: Scene, slot: Slot | None, lasts_s: float) -> None:
    """Replace the process by the other release: an orderly end, then a start."""
    assert slot is not None  # noqa: S101 - its target is a slot
    del scene, lasts_s
    await slot.stop()
    slot.older = not slot.older
    slot.start()
    await slot.ready()
