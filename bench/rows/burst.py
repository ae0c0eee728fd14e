"""50,000 recorded events until all are applied, against the fastest of three job libraries."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from statistics import median

from bench.blocks import alternate
from bench.changes import Change, changes, stamp
from bench.figures import Figure
from bench.ground import Bench, settled_at
from bench.peer import Peer, running
from jobs.events import ContentsChanged
from stoker import Stoker

IDS = ("burst", "burst-recording")
EVENTS, PROJECTS = 50_000, 1_000
RECORDED = 400
"""Events of a block that includes recording them one by one."""
JOBS = 3_000
"""Jobs of one of a peer's blocks: its rate does not depend on how many there are, and the time is limited."""
MOST_BLOCKS = 4
HEATS = 2
"""Blocks that decide which peer is the fastest."""
WRITERS = 16
PATIENCE_S = 120.0
PEERS: Mapping[str, Mapping[str, float]] = {
    "arq": {"poll_s": 0.01, "max_jobs": 50},
    "saq": {"max_jobs": 10},
    "taskiq": {"max_jobs": 10},
}
"""Each at its best of several settings that were tried: more at once, or faster polling, gave no more."""


@dataclass(frozen=True, slots=True)
class Rival:
    """A peer library: who enqueues, who works, and with which options."""

    name: str
    client: Peer
    worker: Peer

    async def drain(self, keys: Sequence[str]) -> float:
        """Jobs a second from a full queue."""
        await self.client.ask("fill", keys=keys)
        return await self._ended(await self._begin(len(keys)), len(keys))

    async def keep_up(self, keys: Sequence[str]) -> float:
        """Jobs a second, enqueueing them included."""
        began_ns = await self._begin(len(keys))
        await self.client.ask("fill", keys=keys)
        return await self._ended(began_ns, len(keys))

    async def _begin(self, count: int) -> int:
        return int(await self.worker.ask("work", count=count, **PEERS[self.name]))

    async def _ended(self, began_ns: int, count: int) -> float:
        ended = await self.worker.ask("ended", timeout_s=PATIENCE_S)
        await self.worker.ask("rest")
        return 1e9 * count / float(ended["last_ns"] - began_ns)


async def measure(bench: Bench) -> list[Figure]:
    """One worker process each. Both begin with what was recorded, or enqueued, beforehand."""
    blocks = bench.scale.blocks if bench.scale.full else min(bench.scale.blocks, MOST_BLOCKS)
    events, recorded = bench.scale.count(EVENTS), bench.scale.count(RECORDED)
    jobs = EVENTS if bench.scale.full else bench.scale.count(JOBS)
    async with bench.stoker() as stoker, bench.worker(stoker), AsyncExitStack() as stack:
        rivals = [await rival_of(bench, stack, name) for name in PEERS]
        wanted = await changes(stoker, PROJECTS)
        keys = [one.stamp for one in wanted]
        heats = await alternate(
            min(blocks, HEATS), *(partial(rival.drain, _repeated(keys, jobs // 2)) for rival in rivals)
        )
        rates = {rival.name: median(found) for rival, found in zip(rivals, heats, strict=True)}
        fastest = max(rivals, key=lambda rival: rates[rival.name])
        ours, theirs = await alternate(
            blocks,
            partial(applied, stoker, wanted, events),
            partial(fastest.drain, _repeated(keys, jobs)),
        )
        both, other = await alternate(
            blocks,
            partial(_recorded_and_applied, stoker, wanted, recorded),
            partial(fastest.keep_up, _repeated(keys, recorded)),
        )
    said = ", ".join(f"{name} {found:,.0f}/s" for name, found in rates.items())
    return [
        Figure(
            *("burst", f"{fastest.name}, a job each", "events/s", ">= 30", ours, theirs),
            f"{events:,} events become visible by one commit, {jobs:,} jobs lie in a peer's queue; recording "
            f"and enqueueing are not counted; chosen from {said}",
        ),
        Figure(
            *("burst-recording", f"{fastest.name}, enqueueing included", "events/s", "", both, other),
            f"{recorded:,} transactions of one event each by {WRITERS} writers at once, against as many "
            "enqueueings; the worker runs meanwhile",
        ),
    ]


async def rival_of(bench: Bench, stack: AsyncExitStack, name: str) -> Rival:
    """Client and worker of a peer library."""
    client, worker = [
        await stack.enter_async_context(running(f"{name}_jobs", bench.urls.queue, bench.urls.cache))
        for _ in range(2)
    ]
    return Rival(name, client, worker)


async def applied(stoker: Stoker, wanted: Sequence[Change], count: int) -> float:
    """Events a second from their commit until the last one is applied."""
    await stamp(stoker, wanted)
    async with stoker.session() as session, session.begin():
        async with session.begin_nested():  # its release writes the rows
            for number in range(count):
                stoker.record(session, _event(wanted, number))
        started = time.time()  # what is left of the transaction is its commit
    return count / (await settled_at(stoker, PATIENCE_S) - started)


async def _recorded_and_applied(stoker: Stoker, wanted: Sequence[Change], count: int) -> float:
    await stamp(stoker, wanted)
    numbers = iter(range(count))

    async def writer() -> None:
        for number in numbers:
            async with stoker.session() as session, session.begin():
                stoker.record(session, _event(wanted, number))

    started = time.time()
    await asyncio.gather(*(writer() for _ in range(WRITERS)))
    return count / (await settled_at(stoker, PATIENCE_S) - started)


def _event(wanted: Sequence[Change], number: int) -> ContentsChanged:
    return ContentsChanged(project_id=wanted[number % len(wanted)].project)


def _repeated(keys: Sequence[str], count: int) -> list[str]:
    return [keys[number % len(keys)] for number in range(count)]
