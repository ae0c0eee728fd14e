"""Visits: who read which entry, noted in every process within bounds, and fetched once."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest

import stoker.cache.visits
from stoker import SYSTEM, EntryKey, Scope
from stoker.cache.accounting import Accounting
from stoker.cache.keys import KeySpace, write_key
from stoker.cache.lookup import Plan
from stoker.cache.visits import KEPT, OF_ONE_READER, PENDING, Position, visits_since
from stoker.redis.cache import CacheClient
from stoker.redis.connection import ServerRun
from tests.support.notes import Notes

NOTES = Notes().domain


class Clock:
    """The server's clock, put forward by the test."""

    def __init__(self) -> None:
        self.now_s = time.time()


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(ServerRun, "now_us", lambda _: round(clock.now_s * 1e6))
    return clock


@pytest.fixture
async def client(cache_url: str) -> AsyncIterator[CacheClient]:
    client = CacheClient(cache_url, timeout_s=10, connections=1)
    yield client
    await client.close()


@pytest.fixture
def keys(prefix: str) -> KeySpace:
    return KeySpace(prefix, "visits")


def plan(number: int) -> Plan:
    key = EntryKey("detail", Scope("note", str(number)))
    return Plan(NOTES.view("detail"), key, None, (), write_key(key))


async def fetched(client: CacheClient, keys: KeySpace) -> list[tuple[bytes, bytes]]:
    visits, _ = await visits_since(client, keys, Position())
    return [(one.member, one.reader) for one in visits]


async def test_a_client_that_reads_one_entry_over_and_over_is_one_visit(
    client: CacheClient, keys: KeySpace
) -> None:
    accounting = Accounting()
    for _ in range(1000):
        accounting.hit(plan(1), "robot")
    accounting.miss(plan(2), 7)
    accounting.hit_in_thread(plan(3), "ann")
    await accounting.flush(client, keys)
    found = dict(await fetched(client, keys))
    assert found.keys() == {plan(number).member for number in (1, 2, 3)}
    assert not any(name in reader for reader in found.values() for name in (b"robot", b"ann")), "digests"
    assert len(set(found.values())) == 3


async def test_a_crawler_leaves_room_for_the_others(client: CacheClient, keys: KeySpace) -> None:
    accounting = Accounting()
    for number in range(5000):
        accounting.hit(plan(number), "robot")
    for number in range(PENDING):
        accounting.miss(plan(10_000 + number), f"reader {number}")
    await accounting.flush(client, keys)
    found = await fetched(client, keys)
    assert len(found) == PENDING
    assert sum(member == plan(10_000).member for member, _ in found) == 1
    by_robot = max(sum(one == reader for _, one in found) for reader in {one for _, one in found})
    assert by_robot == OF_ONE_READER


async def test_jobs_are_no_readers_and_readers_may_be_nobody(client: CacheClient, keys: KeySpace) -> None:
    accounting = Accounting()
    accounting.hit(plan(1), SYSTEM)
    accounting.miss(plan(2), SYSTEM)
    accounting.miss(plan(3), None)
    await accounting.flush(client, keys)
    assert await fetched(client, keys) == [(plan(3).member, b"-")]


async def test_each_visit_is_fetched_once_although_two_processes_flush_at_one_moment(
    client: CacheClient, keys: KeySpace, clock: Clock
) -> None:
    one, other = Accounting(), Accounting()
    one.miss(plan(1), "ann")
    other.miss(plan(2), "ann")
    await one.flush(client, keys)
    first, position = await visits_since(client, keys, Position())
    await other.flush(client, keys)
    second, position = await visits_since(client, keys, position)
    assert [[visit.member for visit in some] for some in (first, second)] == [
        [plan(1).member],
        [plan(2).member],
    ]
    assert await visits_since(client, keys, position) == ([], position)
    clock.now_s += 60
    one.hit(plan(1), "ann")
    await one.flush(client, keys)
    ((visit,), position) = await visits_since(client, keys, position)
    assert visit.at == pytest.approx(clock.now_s, abs=0.01)


async def test_another_server_whose_clock_is_behind_is_read_from_now_on(
    client: CacheClient, keys: KeySpace, clock: Clock
) -> None:
    accounting = Accounting()
    accounting.miss(plan(1), "ann")
    await accounting.flush(client, keys)
    visits, _ = await visits_since(client, keys, Position(clock.now_s + 86400))
    assert len(visits) == 1


async def test_the_oldest_visits_are_dropped(
    client: CacheClient, keys: KeySpace, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stoker.cache.visits, "KEPT", 3)
    accounting = Accounting()
    for number in range(5):
        clock.now_s += 1
        accounting.miss(plan(number), "ann")
        await accounting.flush(client, keys)
    assert [member for member, _ in await fetched(client, keys)] == [plan(n).member for n in (2, 3, 4)]
    assert KEPT > 3


async def test_an_entry_with_a_very_long_name_is_not_noted(client: CacheClient, keys: KeySpace) -> None:
    accounting = Accounting()
    key = EntryKey("detail", Scope("note", "1"), "x" * stoker.cache.visits.LONGEST_MEMBER)
    accounting.miss(Plan(NOTES.view("detail"), key, None, (), write_key(key)), "ann")
    accounting.miss(plan(1), "ann")
    await accounting.flush(client, keys)
    assert [member for member, _ in await fetched(client, keys)] == [plan(1).member]
