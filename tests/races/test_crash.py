"""Processes killed at the worst moment; another one finishes (rows 6, 27)."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from jobs import State
from tests.races.race import race
from tests.races.world import World, never, patience

CHECKOUT = Path(__file__).parents[2]


async def killed_at(point: str, what: str, world: World) -> None:
    """Let a process do something, and kill it with SIGKILL when it has come to the point."""
    urls = world.urls
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.races.child"),
        *(what, urls.database, urls.queue, urls.cache, world.prefix),
        cwd=CHECKOUT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert child.stdout is not None
    try:
        async with patience(f"{what} did not come to the point"):
            assert (await child.stdout.readline()).decode().strip() == point
    finally:
        os.kill(child.pid, signal.SIGKILL)
        await child.wait()


@pytest.mark.parametrize("what", ["record_and_commit", "commit_and_invalidate"])
@race()
async def test_a_change_is_not_lost_with_the_process_that_made_it(world: World, what: str) -> None:
    """Row 6. The event is a row that was committed with the change; the sweeper needs nobody to ring.

    Without that guard, by the usual «commit, then invalidate», the fault shows.
    """
    await world.warmed()
    await killed_at("committed", what, world)
    applied = await world.first.apply()
    shown = await world.first.body()
    if what == "commit_and_invalidate":
        assert (applied, shown) == (0, "v1"), "without an outbox, the old value would stay"
        return
    assert applied == 1
    await world.must_show("v2")


@pytest.mark.parametrize(
    ("what", "point"),
    [
        ("relay_up_to_unlink", "claimed"),
        ("relay_up_to_settle", "unlinked"),
        ("relay_that_settles_first", "claimed"),
    ],
)
@race()
async def test_a_claimed_event_is_not_lost_with_the_worker(world: World, what: str, point: str) -> None:
    """Row 27. A claim ends with its transaction; applying again does no harm.

    Without that guard, by settling before unlinking, the fault shows.
    """
    await world.warmed()
    await world.write("v2")
    await killed_at(point, what, world)
    async with patience("the dead worker's rows stay locked"):
        await world.sql("SELECT id FROM cache_events FOR UPDATE")
    if what == "relay_up_to_settle":
        built_meanwhile = await world.first.read()
        assert (built_meanwhile.value["body"], built_meanwhile.state) == ("v2", State.MISS)
    applied = await world.first.apply()
    if what == "relay_that_settles_first":
        assert applied == 0
        assert await world.first.body() == "v1", "settled first, the old value would stay"
        return
    never("the event was not applied again", happened=applied != 1)
    await world.must_show("v2")
