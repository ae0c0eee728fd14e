"""Processes killed at the worst moment; another one finishes (rows 6, 27)."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from stoker import State
from stoker.worker.sweeper import Sweeper
from tests.races.race import race
from tests.races.world import MISSING, World, never, patience

CHECKOUT = Path(__file__).parents[2]


@asynccontextmanager
async def child_of(what: str, world: World) -> AsyncIterator[tuple[Process, Callable[[], Awaitable[str]]]]:
    """A process that does something, and what it says next; it is killed with SIGKILL at the end."""
    urls = world.urls
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.races.child"),
        *(what, urls.database, urls.queue, urls.cache, world.prefix, MISSING.get() or ""),
        cwd=CHECKOUT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert child.stdout is not None
    stdout = child.stdout

    async def says() -> str:
        async with patience(f"{what} did not come to the point"):
            return (await stdout.readline()).decode().strip()

    try:
        yield child, says
    finally:
        os.kill(child.pid, signal.SIGKILL)
        await child.wait()


async def killed_at(point: str, what: str, world: World) -> None:
    """Let a process do something, and kill it with SIGKILL when it has come to the point."""
    async with child_of(what, world) as (_, says):
        assert await says() == point


@race("events as rows", "the sweeper")
async def test_a_change_is_not_lost_with_the_process_that_made_it(world: World) -> None:
    """Row 6. The event is a row that was committed with the change; the sweeper needs nobody to ring."""
    await world.warmed()
    await killed_at("committed", "record_and_commit", world)
    stop = asyncio.Event()
    stop.set()
    await Sweeper(world.first.apply, timedelta(hours=1)).run(stop)
    await world.must_show("v2")


@race("settling last", "claims that end with their transaction")
async def test_a_claimed_event_is_not_lost_with_the_worker(world: World) -> None:
    """Row 27. Nothing is settled that is not unlinked, and a claim ends with its transaction."""
    await world.warmed()
    await world.write("v2")
    await killed_at("claimed", "relay_up_to_unlink", world)
    await _unlocked(world)
    await world.first.apply()
    await world.must_show("v2")


@race("claims that end with their transaction")
async def test_an_unlinked_event_does_not_stay_unsettled_with_the_death_of_its_worker(world: World) -> None:
    """Row 27. Applying again does no harm: what was built meanwhile is built once more."""
    await world.warmed()
    await world.write("v2")
    await killed_at("unlinked", "relay_up_to_settle", world)
    await _unlocked(world)
    built_meanwhile = await world.first.read()
    assert (built_meanwhile.value["body"], built_meanwhile.state) == ("v2", State.MISS)
    applied = await world.first.apply()
    never("the event was not applied again", happened=applied != 1)
    await world.must_show("v2")


async def _unlocked(world: World) -> None:
    async with patience("the dead worker's rows stay locked"):
        await world.sql("SELECT id FROM stoker.cache_events FOR UPDATE")
