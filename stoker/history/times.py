"""How long jobs waited and ran: counted in each worker, added up in the queue Redis.

Metrics show these counts, and the history samples them: nothing else measures jobs. Counting is a dictionary
increment; a worker reports every few seconds, and not at all without jobs. While the queue Redis is away the
counts wait. A worker that is killed loses a few seconds of them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from stoker.errors import QueueUnavailable
from stoker.histogram import Observed, bucket
from stoker.jobs import JOBS
from stoker.numbers import whole
from stoker.queue.enqueue import Queue
from stoker.redis.queue import answering
from stoker.redis.script import Script

OBSERVE = Script("stoker.history", "observe")
EVERY_S = 5.0
LIFE_MS = 90 * 86_400_000
OTHER = "other"
"""The label of jobs that this release does not know, because their names may be invented."""

Labels = tuple[str, ...]
Histograms = Mapping[Labels, Observed]


class JobTimes:
    """What one worker has counted of its own jobs since its last report. An observer of the engine."""

    def __init__(self, known: Collection[str] = JOBS) -> None:
        self._known = known
        self._counts: Counter[str] = Counter()

    def job_started(self, lane: str, kind: str, waited_s: float) -> None:
        """A job begins."""
        del kind
        self._add(("wait", lane), waited_s)

    def job_ended(self, lane: str, kind: str, outcome: str, ran_s: float) -> None:
        """A job ended."""
        self._add(("run", lane, kind if kind in self._known else OTHER, outcome), ran_s)

    def loop_blocked(self, kind: str, seconds: float) -> None:
        """A handler has blocked the worker's event loop."""
        self._add(("blocked", kind if kind in self._known else OTHER), seconds)

    async def tell(self, queue: Queue) -> None:
        """Add it to the counts of all workers; raises QueueUnavailable, and then keeps it."""
        counts, self._counts = self._counts, Counter()
        if not counts:
            return
        pairs = [part for pair in counts.items() for part in pair]
        try:
            await queue.connection.call(OBSERVE, LIFE_MS, *pairs)
        except BaseException:  # a call that was cancelled may not have arrived
            self._counts.update(counts)
            raise

    async def run(self, queue: Queue, stop: asyncio.Event) -> None:
        """Report every few seconds until told to stop, then what is left."""
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(EVERY_S):
                    await stop.wait()
            with contextlib.suppress(QueueUnavailable):
                await self.tell(queue)

    def _add(self, about: Labels, seconds: float) -> None:
        name = "|".join(about)
        where = bucket(seconds)
        self._counts[f"{name}|{where}"] += 1
        self._counts[f"{name}|us_{where}"] += round(seconds * 1_000_000)


@dataclass(frozen=True)
class Times:
    """What all workers have counted: waits by lane, runs by lane, job and outcome, blocked loops by job."""

    waits: Histograms
    runs: Histograms
    blocked: Histograms


async def job_times(queue: Queue) -> Times:
    """What all workers have counted; raises QueueUnavailable."""
    redis: Any = queue.redis  # the driver types its replies as awaitable or not
    async with answering(queue.settings.timeout_s):
        stored = await redis.hgetall(f"{queue.settings.prefix}:observed")
    found: dict[Labels, dict[str, int]] = defaultdict(dict)
    for field, count in stored.items():
        *about, name = field.decode(errors="replace").split("|")
        found[tuple(about)][name] = whole(count)
    return Times(
        waits=_histograms(found, ("wait", "lane")),
        runs=_histograms(found, ("run", "lane", "kind", "outcome")),
        blocked=_histograms(found, ("blocked", "kind")),
    )


def _histograms(found: Mapping[Labels, Mapping[str, int]], shape: Labels) -> Histograms:
    """The counts whose labels have this shape; fields that others wrote into the hash have another."""
    return {
        about[1:]: Observed.of(lambda name, counts=counts: counts.get(name, 0))  # type: ignore[misc]
        for about, counts in sorted(found.items())
        if about and about[0] == shape[0] and len(about) == len(shape)
    }
