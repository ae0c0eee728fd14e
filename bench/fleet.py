"""One process of a fleet: many Stokers, each as a web process has one, that read and write at a given rate.

It takes its orders as a line of JSON, says `ready`, waits for another line, and prints what it did as JSON.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

from bench.figures import percentile
from jobs.events import ContentsChanged
from stoker import Stoker, StokerError, load_domain, load_settings

STARTS_AT_ONCE = 5
Found = tuple[Counter[str], list[float]]
"""How often what came of a read, and how long each took."""


async def main() -> None:
    """Open, wait, work, report."""
    orders: dict[str, Any] = json.loads(sys.stdin.readline())
    async with AsyncExitStack() as stack:
        stokers = await _opened(stack, orders["stokers"])
        print("ready", flush=True)  # noqa: T201 - how it talks
        await asyncio.to_thread(sys.stdin.readline)
        counts: Counter[str] = Counter()
        took: list[float] = []
        rng = random.Random(orders["seed"])
        until = time.monotonic() + orders["seconds"]
        await asyncio.gather(*(_user(one, orders, until, rng, (counts, took)) for one in stokers))
    found = {"counts": counts, "p50_ms": 1e3 * percentile(took, 0.5), "p99_ms": 1e3 * percentile(took, 0.99)}
    print(json.dumps(found), flush=True)  # noqa: T201 - how it talks


async def _opened(stack: AsyncExitStack, count: int) -> list[Stoker]:
    settings, domain = load_settings(), load_domain("jobs")
    stokers: list[Stoker] = []
    while len(stokers) < count:
        some = min(STARTS_AT_ONCE, count - len(stokers))
        stokers += await asyncio.gather(*(Stoker.open(settings, domain) for _ in range(some)))
    for one in stokers:
        stack.push_async_callback(one.close)
    return stokers


async def _user(
    stoker: Stoker, orders: dict[str, Any], until: float, rng: random.Random, found: Found
) -> None:
    """The traffic of one web process, evenly spread."""
    counts, took = found
    each_s = 1 / orders["reads_per_s"]
    due = time.monotonic() + rng.random() * each_s
    while due < until:
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        due += each_s
        project, owner = rng.choice(orders["pages"])
        started = time.perf_counter()
        try:
            reading = await stoker.read("dashboard", project, reader=owner)
            counts[reading.state] += 1
            if rng.random() < orders["changes_per_read"]:
                async with stoker.session() as session, session.begin():
                    stoker.record(session, ContentsChanged(project_id=project))
                counts["changes"] += 1
        except StokerError as error:
            counts[f"failed: {type(error).__name__}"] += 1
        took.append(time.perf_counter() - started)


if __name__ == "__main__":
    asyncio.run(main())
