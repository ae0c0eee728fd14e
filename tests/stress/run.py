"""Drives a stress run: changes in batches of random size, workers killed at random, and the count at rest."""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from stoker.jobs import Lane
from stoker.queue.answers import Answer
from stoker.queue.enqueue import Queue
from stoker.worker.engine.dead_letters import DeadLetters, Which
from stoker.worker.engine.depth import LaneDepth, depth
from tests.stress.builds import Entries

LONGEST_BATCH = 24
POLL_S = 0.02


@dataclass(frozen=True)
class Play:
    """How much of what. Kills come after a random time around `kill_every_s`."""

    changes: int
    """At least so many; more, until the kills have done what they are for."""
    entries: int = 200
    workers: int = 2
    kill_every_s: float = 0.8
    most_ready: int = 400
    """Ready jobs above which no more changes are made: the run lasts as long as its builds."""
    least_kills: int = 1
    """So many workers are killed before the changes end, and jobs of killed ones were rescued."""
    seed: int = 0


@dataclass(frozen=True)
class Outcome:
    """What came of it."""

    answers: Counter[Answer]
    builds: int
    kills: int
    rescued: int
    quarantined: int
    """Killed three times by chance; retried as an operator would."""
    behind: dict[int, tuple[int, int]]
    seconds: float


@dataclass(frozen=True)
class Servers:
    """Where worker processes find their servers."""

    queue: str
    database: str


class Workers:
    """Worker processes that are killed and started again."""

    def __init__(self, servers: Servers, queue: Queue, play: Play, chance: random.Random) -> None:
        self._asked = {
            "queue": servers.queue,
            "database": servers.database,
            "prefix": queue.settings.prefix,
        }
        self._play = play
        self._chance = chance
        self._running: list[asyncio.subprocess.Process] = []
        self.kills = 0

    async def start(self) -> None:
        """All of them."""
        await asyncio.gather(*(self._start() for _ in range(self._play.workers)))

    async def kill_at_random(self) -> None:
        """Until cancelled; one worker after the other, so that somebody is there to rescue its jobs."""
        while True:
            await asyncio.sleep(self._play.kill_every_s * self._chance.uniform(0.5, 1.5))
            victim = self._running.pop(self._chance.randrange(len(self._running)))
            victim.kill()
            await victim.wait()
            self.kills += 1
            await self._start()

    async def end(self) -> None:
        """Kill them all."""
        for process in self._running:
            if process.returncode is None:
                process.kill()
            await process.wait()

    async def _start(self) -> None:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.stress.worker", json.dumps(self._asked)),
            stdout=asyncio.subprocess.PIPE,
        )
        self._running.append(process)
        assert process.stdout is not None
        assert await process.stdout.readline() == b"up\n"


async def run(servers: Servers, queue: Queue, sql: AsyncEngine, play: Play) -> Outcome:
    """One run, from the first change to rest."""
    chance = random.Random(play.seed)
    entries, letters = Entries(queue), DeadLetters(sql)
    began = time.monotonic()
    quarantined = 0
    async with _killed(Workers(servers, queue, play, chance)) as workers:
        answers = await _change(entries, queue, play, chance, workers)
        while True:
            await _rest(queue)
            retried = await letters.retry(Which(), queue)
            if not retried.retried:
                break
            quarantined += retried.retried
        totals = (await depth(queue))[Lane.REFRESH].totals
    return Outcome(
        answers=answers,
        builds=totals["done"],
        kills=workers.kills,
        rescued=totals["rescued"],
        quarantined=quarantined,
        behind=await entries.behind(),
        seconds=time.monotonic() - began,
    )


@asynccontextmanager
async def _killed(workers: Workers) -> AsyncIterator[Workers]:
    await workers.start()
    killing = asyncio.create_task(workers.kill_at_random())
    try:
        yield workers
    finally:
        killing.cancel()
        await asyncio.gather(killing, return_exceptions=True)
        await workers.end()


async def _change(
    entries: Entries, queue: Queue, play: Play, chance: random.Random, workers: Workers
) -> Counter[Answer]:
    answers: Counter[Answer] = Counter()
    rescued = 0
    while answers.total() < play.changes or workers.kills < play.least_kills or not rescued:
        batch = chance.randint(1, LONGEST_BATCH)
        # Half of the changes hit a tenth of the entries: builds and changes of those overlap all the time.
        hot = max(1, play.entries // 10)
        chosen = [
            chance.randrange(hot if chance.random() < 0.5 else play.entries)  # a coin
            for _ in range(batch)
        ]
        answers.update(await entries.change(chosen))
        while (lane := await _lane(queue)).ready > play.most_ready:  # noqa: ASYNC110 - a state has no event
            await asyncio.sleep(POLL_S)
        rescued = lane.totals["rescued"]
    return answers


async def _rest(queue: Queue) -> None:
    while True:
        lane = await _lane(queue)
        if lane.ready == lane.deferred == lane.running == lane.parked == 0:
            return
        await asyncio.sleep(POLL_S)


async def _lane(queue: Queue) -> LaneDepth:
    return (await depth(queue))[Lane.REFRESH]
