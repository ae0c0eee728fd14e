"""How many jobs each lane has, counted at one moment; raises QueueUnavailable.

Depth is never ZCARD alone, because deferred and parked jobs are in the same set. Dead jobs are counted in
SQL.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from stoker.numbers import real, whole
from stoker.queue import wire
from stoker.queue.enqueue import Queue
from stoker.redis.script import Script
from stoker.worker.engine.claims import LONGEST_WAIT_S, read_slots

DEPTH = Script("stoker.worker.engine", "depth")
TOTALS = ("done", "failed", "retried", "deferred", "dead", "dropped", "cancelled", "parked", "rescued")
"""Counted since the queue was made. `failed`: runs that raised; `retried`, `dead` and `dropped`: what became
of them. A run that met a known outage counts as `deferred`."""


class LaneDepth(BaseModel):
    """One lane."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    ready: int
    """Due, and waiting for a free slot."""
    deferred: int
    """Due later: enqueued with a delay, backing off, or held back behind a running one of their key."""
    running: int
    parked: int
    """Jobs of kinds that no worker so far has known."""
    oldest_ready_age_s: float
    """Zero when nothing is ready."""
    paused: bool
    slots: int | None
    """Concurrency of each worker that an operator has set; None: what the workers' settings say."""
    totals: dict[str, int]


async def depth(queue: Queue) -> dict[str, LaneDepth]:
    """All lanes, in one round trip."""
    names = wire.queue_names(queue.settings, queue.lanes)
    now_ms, *found = await queue.connection.call(DEPTH, *names)
    return {lane: read_lane(now_ms, reply) for lane, reply in zip(queue.lanes, found, strict=True)}


def read_lane(now_ms: int, reply: Sequence[Any]) -> LaneDepth:
    """One lane of the reply of depth.lua; scores, totals and slots may be anything."""
    ready, queued, running, parked, oldest, paused, slots, pairs = reply
    counted = {
        name.decode(errors="replace"): whole(value)
        for name, value in zip(pairs[::2], pairs[1::2], strict=True)
    }
    # A score that Stoker did not write says nothing about how long the job has waited.
    waited_s = (now_ms - real(oldest, most=now_ms, default=now_ms)) / 1000 if oldest else 0.0
    return LaneDepth(
        ready=ready,
        deferred=max(0, queued - ready - parked - running),  # the last two lie in the lane's zset as well
        running=running,
        parked=parked,
        oldest_ready_age_s=waited_s if waited_s < LONGEST_WAIT_S else 0.0,
        paused=bool(paused),
        slots=read_slots(slots),
        totals={name: counted.get(name, 0) for name in TOTALS},
    )
