"""At rest: each web app's cached answers equal its answers from SQL."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from stoker.chaos.driver import OK, Driver
from stoker.chaos.slots import Slot
from stoker.chaos.workload import Read

COMPARED = 400
"""Answers compared at most: each costs a read from SQL."""
AT_ONCE = 4


async def compare(driver: Driver) -> None:
    """Read entries through the cache and with a bypass, in the order of `Users.candidates`.

    Only entries that were cached before count: one that this read built proves nothing.
    """
    asked = ((webapp, read) for read in _candidates(driver) for webapp in driver.webapps)
    await asyncio.gather(*(_compare_all(driver, asked) for _ in range(AT_ONCE)))


def _candidates(driver: Driver) -> Iterator[Read]:
    yield from driver.users.candidates(list(driver.served.values()))


async def _compare_all(driver: Driver, asked: Iterator[tuple[Slot, Read]]) -> None:
    for webapp, read in asked:
        if driver.tally.entries_verified >= COMPARED:
            return
        await _compare(driver, webapp, read)


async def _compare(driver: Driver, webapp: Slot, read: Read) -> None:
    cached = await driver.send("GET", read.path, read.reader, webapp=webapp)
    if cached is None or cached.status != OK or cached.headers["x-cache"] != "hit":
        return
    current = await driver.send("GET", read.bypass, read.reader, webapp=webapp)
    if current is None:
        return
    driver.tally.entries_verified += 1
    if current.status != OK or current.body != cached.body:
        driver.tally.stale_entries += 1
        what = f"{webapp.name} shows {read.path} to user {read.reader} different from SQL"
        driver.tally.note("stale entry", what)
