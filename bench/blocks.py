"""Interleaved blocks: A B, B A, ..., so that other load of the machine affects both sides alike."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

Block = Callable[[], Awaitable[float]]
"""Runs one block of one side and returns its figure."""
STEPS_PER_CLOCK_READ = 32
"""Steps between two readings of the clock."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured. `share` shrinks the work of a block; below 1 no figure is worth quoting."""

    blocks: int = 7
    share: float = 1.0
    full: bool = False

    def seconds(self, whole: float) -> float:
        """The length of a block."""
        return whole * self.share

    def count(self, whole: int, *, least: int = 1) -> int:
        """The work of a block."""
        return max(least, round(whole * self.share))


QUICK = Scale(blocks=2, share=0.1)
FULL = Scale(blocks=24, full=True)


async def alternate(blocks: int, *sides: Block) -> list[list[float]]:
    """Run each side `blocks` times in turn; the figures of each side. The first round is not counted.

    The sides take turns in going first, so that none always runs right after the same other one.
    """
    figures: list[list[float]] = [[] for _ in sides]
    for round_ in range(blocks + 1):
        for turn in range(len(sides)):
            at = (round_ + turn) % len(sides)
            gc.collect()
            figure = await sides[at]()
            if round_ > 0:
                figures[at].append(figure)
    return figures


async def rate(seconds: float, step: Callable[[int], Awaitable[object]], *, readers: int = 1) -> float:
    """Steps a second of `readers` that each do one step after the other."""
    started = time.perf_counter()
    until = started + seconds
    done = await asyncio.gather(*(_read_on(until, step, reader) for reader in range(readers)))
    return sum(done) / (time.perf_counter() - started)


async def _read_on(until: float, step: Callable[[int], Awaitable[object]], reader: int) -> int:
    number = reader * 7919  # each reader starts at another place
    done = 0
    while time.perf_counter() < until:
        for _ in range(STEPS_PER_CLOCK_READ):
            await step(number)
            number += 1
        done += STEPS_PER_CLOCK_READ
    return done


async def at_rate(per_second: float, work: Sequence[Callable[[], Awaitable[object]]]) -> None:
    """Start each work at its time, whether those before have ended or not, and wait for all."""
    started = time.perf_counter()
    tasks: list[asyncio.Task[object]] = []
    for number, one in enumerate(work):
        await asyncio.sleep(max(0.0, started + number / per_second - time.perf_counter()))
        tasks.append(asyncio.ensure_future(_run(one)))
    await asyncio.gather(*tasks)


async def _run(one: Callable[[], Awaitable[object]]) -> object:
    return await one()
