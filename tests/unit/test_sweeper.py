"""The sweeper applies events by itself, outage or not."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

import pytest

from stoker.errors import CacheUnavailable
from stoker.worker.sweeper import Sweeper

OFTEN = timedelta(milliseconds=1)


class Outbox:
    """Applies, or fails as often as it is told; `reached` is set at the n-th call."""

    def __init__(self, failures: int, calls: int) -> None:
        self._failures = failures
        self._calls = calls
        self.reached = asyncio.Event()

    async def apply(self) -> int:
        self._calls -= 1
        if self._calls == 0:
            self.reached.set()
        if self._failures > 0:
            self._failures -= 1
            raise CacheUnavailable("the cache Redis does not answer")
        return 1


async def sweep(outbox: Outbox, every: timedelta = OFTEN) -> None:
    stop = asyncio.Event()
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(Sweeper(outbox.apply, every).run(stop))
        await outbox.reached.wait()
        stop.set()


async def test_an_outage_is_said_once_and_so_is_its_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="stoker.worker.sweeper")
    await sweep(Outbox(failures=3, calls=6))
    assert [record.getMessage() for record in caplog.records] == ["sweeper.waits", "sweeper.resumes"]


async def test_stopping_sweeps_once_more_and_waits_for_no_interval() -> None:
    outbox = Outbox(failures=0, calls=1)
    async with asyncio.timeout(5):
        await sweep(outbox, every=timedelta(hours=1))
    assert outbox._calls == -1


async def test_a_stop_during_a_sweep_is_followed_by_one_more() -> None:
    stop, sweeps = asyncio.Event(), 0

    async def apply() -> int:
        nonlocal sweeps
        sweeps += 1
        stop.set()  # an event may have been recorded after this sweep took its rows
        return 0

    await Sweeper(apply, timedelta(hours=1)).run(stop)
    assert sweeps == 2
