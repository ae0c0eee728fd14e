"""The schedule over real processes: each slot once, whoever is killed, whatever their time zones."""

# ruff: noqa: F811 - fixtures are imported by name

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from stoker.jobs import Lane
from stoker.queue.enqueue import Queue
from stoker.tables import schedule_slots as slots
from stoker.worker.engine.depth import depth
from tests.support.engine_fixtures import queue, sql  # noqa: F401
from tests.support.engine_stage import eventually

Start = Callable[..., Awaitable[asyncio.subprocess.Process]]
HOUR_S = "3600"


@pytest.fixture
async def start(queue: Queue, queue_url: str, database_url: str) -> AsyncIterator[Start]:
    """Start schedules on the test's servers; killed at the end."""
    started: list[asyncio.subprocess.Process] = []

    async def begin(zone: str = "UTC", **options: str) -> asyncio.subprocess.Process:
        asked = {"queue": queue_url, "database": database_url, "prefix": queue.settings.prefix, **options}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.support.schedule_process", json.dumps(asked)),
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "TZ": zone},
        )
        started.append(process)
        assert process.stdout is not None
        await process.stdout.readline()
        return process

    yield begin
    for process in started:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def states(sql: AsyncEngine) -> dict[str, int]:
    """How many slots stand where."""
    query = select(slots.c.state, func.count().label("number")).group_by(slots.c.state)
    async with sql.connect() as connection:
        return {row.state: row.number for row in await connection.execute(query)}


async def test_over_three_processes_in_three_zones_each_slot_runs_once(
    queue: Queue, sql: AsyncEngine, start: Start
) -> None:
    zones = ("Europe/Berlin", "America/New_York", "Asia/Kolkata")
    processes = await asyncio.gather(*(start(zone, every_s="0.2") for zone in zones))

    async def ten() -> bool:
        return (await states(sql)).get("done", 0) >= 10

    await eventually(ten)
    for process in processes:
        process.send_signal(signal.SIGTERM)
    assert [await process.wait() for process in processes] == [0, 0, 0]
    done = (await states(sql))["done"]
    assert (await depth(queue))[Lane.WARM].ready == done
    every = timedelta(seconds=0.2)
    async with sql.connect() as connection:
        found = (await connection.execute(select(slots.c.slot).order_by(slots.c.slot))).scalars().all()
    assert {slot.timestamp() * 1000 % 200 for slot in found} <= {0.0, 200.0}
    assert len(found) <= (found[-1] - found[0]) / every + 1


async def test_a_slot_cut_by_a_kill_runs_again_elsewhere(
    queue: Queue, sql: AsyncEngine, start: Start
) -> None:
    victim = await start(every_s=HOUR_S, lease_s="1", die="yes")
    assert await victim.wait() == -signal.SIGKILL
    assert await states(sql) == {"claimed": 1}
    await asyncio.gather(*(start(every_s=HOUR_S, lease_s="1") for _ in range(2)))

    async def done() -> bool:
        return await states(sql) == {"done": 1}

    await eventually(done)
    assert (await depth(queue))[Lane.WARM].ready == 1
