"""Faults of workers and web apps: killed at work, frozen, replaced by the other of two releases."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from redis.exceptions import RedisError

from stoker.chaos.acts import Slow
from stoker.chaos.faults.servers import admin
from stoker.chaos.mischief import ask
from stoker.chaos.scene import Scene
from stoker.chaos.slots import Slot
from stoker.chaos.tally import Killed

BURST = 15
"""Changes that are sent together just before a process is killed, so that it is killed at work."""
AT_WORK_WITHIN_S = 15.0
ASK_S = 0.25
YOUNG_MS = 5000
"""A job that was asked for so long ago at most will not end by itself within the next seconds."""


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


async def kill_worker(scene: Scene, slot: Slot | None, lasts_s: float) -> None:
    """The same when the worker runs a job that takes long, so that its claim must be rescued."""
    assert slot is not None  # noqa: S101 - its target is a slot
    job_id = await _long_job_of(scene, slot)
    pid = slot.lives[-1].pid
    await kill(scene, slot, lasts_s)
    if job_id is not None and slot.lives[-2].pid == pid:
        scene.tally.killed.append(Killed(pid, job_id, slot.lives[-2].ended or time.time()))


async def freeze(scene: Scene, slot: Slot | None, lasts_s: float) -> None:
    """SIGSTOP, then SIGCONT when others may have taken over its jobs."""
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


async def _long_job_of(scene: Scene, slot: Slot) -> str | None:
    """A job that has just begun in this worker and takes long; None if there is none in time."""
    give_up = time.monotonic() + AT_WORK_WITHIN_S
    while time.monotonic() < give_up:
        await ask(scene.driver, "task_outlasts_its_claim")
        await asyncio.sleep(ASK_S)
        try:
            async with admin(scene.servers.queue) as redis:
                found = await _held(redis, f"{scene.ledger.prefix}:{Slow.lane}", slot.lives[-1].pid)
        except RedisError:
            continue
        if found is not None:
            return found
    return None


async def _held(redis: Any, queue: str, pid: int) -> str | None:  # noqa: ANN401 - the driver's commands are untyped
    now_ms = time.time() * 1000
    for job_id in await redis.zrange(f"{queue}:running", 0, -1):
        owner, payload = await redis.mget(b"arq:in-progress:" + job_id, b"arq:job:" + job_id)
        is_its = owner is not None and owner.decode().split(":")[-2] == str(pid)
        if is_its and payload is not None and now_ms - json.loads(payload)["et"] < YOUNG_MS:
            return str(job_id.decode())
    return None
