"""Liveness is judged by progress: a lane that could work and does not is found."""

from __future__ import annotations

import asyncio
import socket
import time

import httpx
import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy.ext.asyncio import AsyncEngine

from stoker.jobs import Lane
from stoker.queue.enqueue import Queue
from stoker.settings import ProcessSettings
from stoker.telemetry.endpoint import endpoint
from stoker.worker.engine import watchdog
from stoker.worker.engine.watchdog import Watchdog
from tests.support.engine_fixtures import known_jobs, queue, sql, stage
from tests.support.engine_stage import Elsewhere, Running, Stage, Work, eventually, running, settled

__all__ = ["known_jobs", "queue", "sql", "stage"]


class Clock:
    """The clock by which rounds are judged, put forward by the test."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead_s


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(watchdog, "now", clock)
    return clock


def end_task(name: str) -> None:
    """What no error does, as the supervisor begins again after each."""
    (task,) = (task for task in asyncio.all_tasks() if task.get_name() == name)
    task.cancel()


async def is_up(one: Running) -> None:
    async def has_begun() -> bool:
        return one.engine.silent_s is not None

    await eventually(has_begun)


async def is_heard(one: Running, lane: Lane) -> None:
    """Wait until upkeep has told the lane of its due job."""

    async def heard() -> bool:
        return one.engine._lanes[lane]._watchdog._cause_at is not None

    await eventually(heard)


async def becomes(one: Running, *parts: str) -> None:
    async def are_stuck() -> bool:
        return one.engine.stuck() == list(parts)

    await eventually(are_stuck)


async def healthz(one: Running) -> httpx.Response:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    async with endpoint(CollectorRegistry(), ProcessSettings(metrics_port=port), one.engine.stuck):
        return await asyncio.to_thread(httpx.get, f"http://127.0.0.1:{port}/healthz", timeout=60)


async def test_a_lane_that_asks_for_no_work_though_it_has_some_is_named(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine, clock: Clock
) -> None:
    async with running(queue, queue_url, stage, sql, claim_life_s=0.5) as one:
        await is_up(one)
        end_task("lane.warm")
        await queue.enqueue(Work())
        await queue.enqueue(Elsewhere())
        await settled(queue, Lane.REFRESH, done=1)
        await is_heard(one, Lane.WARM)
        assert (await healthz(one)).status_code == 200, "not at once"
        clock.ahead_s += watchdog.STUCK_S + 1
        await becomes(one, "lane warm")
        answer = await healthz(one)
        assert (answer.status_code, answer.text) == (503, "stuck: lane warm\n")
    assert one.engine.stuck() == [], "nobody restarts what stops"


async def test_a_lane_that_may_not_or_cannot_begin_a_job_is_not_stuck(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine, clock: Clock
) -> None:
    release = stage.hold("long")
    await queue.pause(Lane.REFRESH)
    async with running(queue, queue_url, stage, sql, concurrency=1, claim_life_s=0.5) as one:
        await queue.enqueue(Elsewhere())  # paused
        await queue.enqueue(Work(name="long"))
        await queue.enqueue(Work())  # no slot is free
        for lane in (Lane.WARM, Lane.REFRESH):
            await is_heard(one, lane)
        for _ in range(3):
            clock.ahead_s += watchdog.STUCK_S + 1
            await becomes(one)
        release.set()


async def test_without_a_queue_nobody_is_stuck_and_without_upkeep_somebody_is(
    stage: Stage, sql: AsyncEngine, queue: Queue, clock: Clock
) -> None:
    async with running(queue, "redis://127.0.0.1:1", stage, sql, claim_life_s=0.5) as one:
        await is_up(one)
        for _ in range(3):
            clock.ahead_s += watchdog.STUCK_S + 1
            await becomes(one)
        end_task("upkeep")
        clock.ahead_s += watchdog.STUCK_S + 1
        await becomes(one, "upkeep")


def test_a_cause_counts_from_when_it_came(clock: Clock) -> None:
    one = Watchdog()
    clock.ahead_s += watchdog.STUCK_S + 1
    assert not one.stuck(), "there is no cause to watch"
    one.has_cause(whether=True)
    assert not one.stuck()
    clock.ahead_s += watchdog.STUCK_S + 1
    one.has_cause(whether=True)
    assert one.stuck()
    one.ended()
    assert not one.stuck()
    clock.ahead_s += watchdog.STUCK_S + 1
    one.has_cause(whether=False)
    assert not one.stuck()
