"""The primary is killed under load and its replica promoted: writes, requests, reads and the worker go on.

Where each commit waits for the replica, none that was acknowledged is lost. Where it does not, Postgres loses
the last ones, each with its event.
"""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
from sqlalchemy import text

from stoker import Applied, Job, JobContext, Lane, State, Stoker
from stoker.errors import DatabaseUnavailable, StokerError
from stoker.handlers.relay import apply_all
from stoker.migrate import migrate, renew_installation
from stoker.outbox.rows import unsettled
from stoker.worker.process import run_worker
from tests.library import ShelfRenamed
from tests.library import domain as library
from tests.support.engine_stage import eventually
from tests.support.place import Place
from tests.support.replicated import Pair

SHELVES, READERS = 6, 8
BEFORE_S, AWAY_S, AFTER_S = 4.0, 1.0, 6.0
PATIENCE = timedelta(seconds=30)
ran: list[str] = []


class Note(Job):
    kind = "library.note"
    lane = "notes"
    text: str


async def note(_: JobContext, job: Note) -> None:
    ran.append(job.text)


DOMAIN = replace(library, lanes=(Lane("notes"),), handlers={Note: note})
RENAME = text("UPDATE shelves SET label = :label WHERE id = :id")


@dataclass
class Load:
    """Writers, each of a shelf of its own, and readers of all; what was acknowledged and what was seen."""

    stoker: Stoker
    acknowledged: dict[str, int] = field(default_factory=dict)
    applied: dict[str, int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    refused: int = 0
    stale: list[str] = field(default_factory=list)
    last_refused: float = 0.0
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def write(self, shelf: str) -> None:
        number = 0
        while not self.stop.is_set():
            number += 1
            if await self._renamed(shelf, number):
                self.acknowledged[shelf] = number

    async def _renamed(self, shelf: str, number: int) -> bool:
        receipt = None
        try:
            async with self.stoker.session() as session, session.begin():
                await session.execute(RENAME, {"label": str(number), "id": shelf})
                receipt = self.stoker.record(session, ShelfRenamed(shelf=shelf))
                self.stoker.enqueue_in(session, Note(text=f"{shelf}:{number}"))
            self.asked.append(f"{shelf}:{number}")
        except DatabaseUnavailable:
            self._refuse()
            return False
        try:
            if await receipt.applied() is Applied.APPLIED:
                self.applied[shelf] = number
        except DatabaseUnavailable:
            self._refuse()
        return True

    async def read(self, number: int) -> None:
        while not self.stop.is_set():
            number += 1
            shelf = f"s{number % SHELVES}"
            least = self.applied.get(shelf, 0)
            try:
                reading = await self.stoker.read("label", shelf)
            except DatabaseUnavailable:
                self._refuse()
                continue
            seen = int(reading.value["label"])
            if seen < least and reading.state is not State.STALE:  # marked: its loader failed
                self.stale.append(f"{shelf}: {seen} after {least}")
            await asyncio.sleep(0.005)

    def _refuse(self) -> None:
        self.refused += 1
        self.last_refused = time.monotonic()


async def _filled(stoker: Stoker) -> None:
    async with stoker.session() as session, session.begin():
        for number in range(SHELVES):
            await session.execute(text("INSERT INTO shelves VALUES (:id, '0')"), {"id": f"s{number}"})


async def _labels(stoker: Stoker) -> dict[str, int]:
    async with stoker.engine.connect() as connection:
        found = await connection.execute(text("SELECT id, label FROM shelves"))
        return {shelf: int(label) for shelf, label in found}


@pytest.mark.long
async def test_no_acknowledged_commit_is_lost_where_each_waits_for_the_replica(
    pair: Pair, paired: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    await migrate(pair.url, DOMAIN)
    pair.wait_for_each_commit()
    settings = paired.settings(database={"connect_timeout_s": 2})
    async with Stoker.opened(settings, DOMAIN) as stoker, Stoker.opened(settings, DOMAIN) as works:
        await _filled(stoker)
        stop, load = asyncio.Event(), Load(stoker)
        working = asyncio.create_task(run_worker(works, settings, stop))
        async with asyncio.TaskGroup() as group:
            for number in range(SHELVES):
                group.create_task(load.write(f"s{number}"))
            for number in range(READERS):
                group.create_task(load.read(number))
            await asyncio.sleep(BEFORE_S)
            await asyncio.to_thread(pair.primary.kill)
            await asyncio.sleep(AWAY_S)
            before = dict(load.acknowledged)
            await asyncio.to_thread(pair.replica.promote)
            promoted = time.monotonic()
            await asyncio.sleep(AFTER_S)
            load.stop.set()
        labels = await _labels(stoker)
        lost = {
            shelf: (labels[shelf], number)
            for shelf, number in load.acknowledged.items()
            if labels[shelf] < number
        }
        assert lost == {}
        assert load.stale == []
        assert all(load.acknowledged[shelf] > before[shelf] for shelf in before), "writes did not go on"
        await eventually(lambda: _all_settled(stoker), 30)
        for shelf, label in (await _labels(stoker)).items():
            assert (await stoker.read("label", shelf)).value == {"label": str(label)}
        await eventually(lambda: _all_ran(load), 30)
        stop.set()
        await working
    away_s = max(0.0, load.last_refused - promoted)
    with capsys.disabled():
        sys.stdout.write(
            f"\nPostgres failed over: {sum(load.acknowledged.values())} commits, none lost; {load.refused} "
            f"calls refused, the last one {away_s:.2f} s after the promotion\n"
        )


async def _all_settled(stoker: Stoker) -> bool:
    try:
        return (await unsettled(stoker.engine)).oldest is None
    except StokerError:
        return False


async def _all_ran(load: Load) -> bool:
    return set(load.asked) <= set(ran)


@pytest.mark.long
async def test_what_an_asynchronous_replica_did_not_have_is_lost_with_its_event(
    pair: Pair, paired: Place
) -> None:
    """And the cache holds what was built from it, until the installation gets a new id."""
    await migrate(pair.url, DOMAIN)
    async with Stoker.opened(paired.settings(), DOMAIN) as stoker:
        await _filled(stoker)
        await asyncio.to_thread(pair.wait_until_received)
        await asyncio.to_thread(pair.replica.stop)
        async with stoker.session() as session, session.begin():
            await session.execute(RENAME, {"label": "1", "id": "s0"})
            receipt = stoker.record(session, ShelfRenamed(shelf="s0"))
        await apply_all(stoker)
        assert await receipt.applied(PATIENCE) is Applied.APPLIED
        assert (await stoker.read("label", "s0")).value == {"label": "1"}
        await asyncio.to_thread(pair.primary.kill)
        await asyncio.to_thread(pair.replica.start)
        await asyncio.to_thread(pair.replica.promote)
        await eventually(lambda: _all_settled(stoker))
        assert (await _labels(stoker))["s0"] == 0
    await renew_installation(pair.url)
    async with Stoker.opened(paired.settings(), DOMAIN) as stoker:
        assert (await stoker.read("label", "s0")).value == {"label": "0"}
