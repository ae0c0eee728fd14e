"""The end: wait until every change is applied, then compare what is cached with what SQL says."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterable, Iterator

from stoker import Lane, Stoker
from stoker.operations import figures, lanes
from worker.demo.driver import OK, Driver
from worker.demo.reads import PROJECT_VIEWS, Read
from worker.demo.world import World

QUIET_WITHIN_S = 20.0
LOOK_S = 0.05
COMPARED = 400
"""Entries compared at most: each costs a read from SQL."""
AT_ONCE = 4


async def quiet(stoker: Stoker, *which: Lane) -> bool:
    """Wait until every event is applied and lanes have nothing to do; false if that does not come."""
    give_up = time.monotonic() + QUIET_WITHIN_S
    while time.monotonic() < give_up:
        unsettled = (await figures.change_figures(stoker)).unsettled
        found = (await lanes.listing(stoker)).lanes
        if not unsettled and not any(found[lane].ready + found[lane].running for lane in which):
            return True
        await asyncio.sleep(LOOK_S)
    return False


async def compare(driver: Driver) -> None:
    """Read entries through the cache and past it; what was changed in this run comes first.

    Only entries that are cached at that moment count: one that is built by the look proves nothing.
    """
    candidates = _candidates(driver.world, driver.served.values())
    await asyncio.gather(*(_compare_all(driver, candidates) for _ in range(AT_ONCE)))


async def _compare_all(driver: Driver, candidates: Iterator[Read]) -> None:
    for read in candidates:
        if driver.tally.entries_verified >= COMPARED:
            return
        await _compare(driver, read)


async def _compare(driver: Driver, read: Read) -> None:
    cached = await driver.send("GET", read.path, read.user)
    if cached is None or cached.status != OK or cached.headers["x-cache"] != "hit":
        return
    current = await driver.send("GET", read.bypass, read.user)
    if current is None:
        return
    driver.tally.entries_verified += 1
    if current.status != OK or current.body != cached.body:
        driver.tally.stale_entries += 1
        driver.tally.note("stale entry", f"{read.path} of user {read.user} differs from SQL")


def _candidates(world: World, served: Iterable[Read]) -> Iterator[Read]:
    possible = [read for read in served if read.project is None or _may_read(world, read)]
    changed = {project.id for project in world.projects.values() if world.changed(project)}
    possible.sort(key=lambda read: not _shows_any(world, read, changed))
    # Dashboards that only warming has built are entries too.
    warmed = (
        Read("dashboard", project.owner, f"/projects/{project.id}/dashboard", project.id)
        for project in world.projects.values()
        if f"/projects/{project.id}/dashboard" not in {read.path for read in possible}
    )
    return itertools.chain(possible, warmed)


def _may_read(world: World, read: Read) -> bool:
    project = world.projects.get(read.project or 0)
    return project is not None and read.user in project.members


def _shows_any(world: World, read: Read, changed: set[int]) -> bool:
    return read.project in changed if read.view in PROJECT_VIEWS else bool(world.visible[read.user] & changed)
