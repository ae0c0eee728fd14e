"""Lanes recover with the queue: a job that is enqueued once the queue is back is done soon.

This is measured after each fault of the queue. Only jobs that no other fault delayed are compared with the
promised time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass

from redis.asyncio import Redis
from redis.exceptions import RedisError

from stoker.chaos.faults.kind import BACK_S
from stoker.chaos.mischief import ask
from stoker.chaos.scene import Scene
from stoker.chaos.tally import Return

ASKED_WITHIN_S = 15.0
DONE_WITHIN_S = 30.0
POLL_S = 0.05


@dataclass(frozen=True)
class Returns:
    """How long such jobs took, in seconds."""

    count: int
    slowest_s: float
    """Of those that no other fault delayed."""
    slowest_disturbed_s: float


async def follow(scene: Scene, fault: str) -> None:
    """Enqueue a job and wait until it is done."""
    job_id = await _ask(scene)
    if job_id is None:
        return  # no web app answers, because of another fault
    asked = time.time()
    done = await _done(scene, job_id, asked + DONE_WITHIN_S)
    if done is not None or not _disturbed(scene, asked, asked + DONE_WITHIN_S):
        scene.tally.returns.append(Return(fault, asked, done))


def judged(scene: Scene, room_s: float) -> tuple[Returns, list[str]]:
    """How fast lanes came back, and whether that was too late."""
    calm, disturbed = [("", 0.0)], [("", 0.0)]
    for one in scene.tally.returns:
        took_s = (one.done or one.asked + DONE_WITHIN_S) - one.asked
        where = disturbed if _disturbed(scene, one.asked, one.asked + took_s) else calm
        where.append((one.fault, took_s))
    slowest_s, slowest_disturbed_s = (round(max(took_s for _, took_s in of), 2) for of in (calm, disturbed))
    return Returns(len(scene.tally.returns), slowest_s, slowest_disturbed_s), late(calm, room_s)


def late(took_s: Iterable[tuple[str, float]], room_s: float) -> list[str]:
    """Faults of the queue after which a job was done too late."""
    return [
        f"after {fault} a job was done only {seconds:.1f} s after the queue was back"
        for fault, seconds in took_s
        if seconds > BACK_S + room_s
    ]


async def _ask(scene: Scene) -> str | None:
    give_up = time.monotonic() + ASKED_WITHIN_S
    while time.monotonic() < give_up:
        job_id = await ask(scene.driver, "task")
        if job_id is not None:
            return job_id
        await asyncio.sleep(POLL_S)
    return None


async def _done(scene: Scene, job_id: str, until: float) -> float | None:
    ended = f"{scene.ledger.prefix}:chaos:ended"
    async with Redis.from_url(scene.servers.urls.queue, socket_timeout=1) as redis:
        while time.time() < until:
            try:
                if await redis.hexists(ended, job_id):
                    return time.time()
            except RedisError:
                pass  # the next fault of the queue
            if job_id in scene.ledger.erased:
                return None
            await asyncio.sleep(POLL_S)
    return None


def _disturbed(scene: Scene, began: float, ended: float) -> bool:
    """Whether something else may have delayed the job."""
    lives = [life for slot in scene.workers for life in slot.lives]
    died = any(life.ended is not None and began <= life.ended <= ended for life in lives)
    needed = {"queue", *(slot.name for slot in scene.workers)}
    struck = any(
        one.target in needed and one.began <= ended and one.ended >= began for one in scene.tally.troubles
    )
    return died or struck or not any(life.works(began) for life in lives)
