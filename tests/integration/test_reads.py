"""How much entries are read: counted in every process, decayed, merged, bounded."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

import stoker.cache.reads
from stoker import EntryKey, Scope
from stoker.cache.accounting import LONGEST_MEMBER, Accounting, read_counters
from stoker.cache.keys import KeySpace, write_key
from stoker.cache.lookup import Plan
from stoker.cache.reads import HALF_LIFE_S, hottest, last_reads, recently_read
from stoker.errors import CacheUnavailable
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
    return KeySpace(prefix, "reads")


def key(number: int) -> EntryKey:
    return EntryKey("detail", Scope("note", str(number)))


def plan(number: int) -> Plan:
    return Plan(
        NOTES.view("detail"),
        key(number),
        EntryKey("access", key(number).scope),
        (),
        write_key(key(number)),
    )


async def read(client: CacheClient, keys: KeySpace, **times: int) -> None:
    """A process in which notes are read so often, and which tells."""
    accounting = Accounting()
    for name, count in times.items():
        accounting.read(write_key(key(int(name.removeprefix("note")))), count)
    await accounting.flush(client, keys)


async def ranked(client: CacheClient, keys: KeySpace, limit: int = 10) -> list[tuple[str, float]]:
    return [(one.scope.id, round(reads, 2)) for one, reads in await hottest(client, keys, limit)]


async def test_a_read_counts_half_as_much_after_every_half_life(
    client: CacheClient, keys: KeySpace, clock: Clock
) -> None:
    await read(client, keys, note1=8)
    assert await ranked(client, keys) == [("1", 8.0)]
    clock.now_s += 2 * HALF_LIFE_S
    assert await ranked(client, keys) == [("1", 2.0)]
    await read(client, keys, note1=3)
    assert await ranked(client, keys) == [("1", 5.0)]


async def test_what_was_read_much_long_ago_is_overtaken(
    client: CacheClient, keys: KeySpace, clock: Clock
) -> None:
    await read(client, keys, note1=8, note2=1)
    clock.now_s += 2 * HALF_LIFE_S
    await read(client, keys, note2=3)
    assert [one for one, _ in await ranked(client, keys)] == ["2", "1"]
    assert await ranked(client, keys, limit=1) == [("2", 3.25)]


async def test_reads_of_several_processes_add_up(client: CacheClient, keys: KeySpace, clock: Clock) -> None:
    await read(client, keys, note1=1000, note2=7)
    await read(client, keys, note1=1, note2=5)
    assert await ranked(client, keys) == [("1", 1001.0), ("2", 12.0)]
    assert (await recently_read(client, keys, 60, 10))[0][1] == pytest.approx(clock.now_s, abs=0.001)


async def test_no_more_than_the_hottest_are_kept(
    client: CacheClient, keys: KeySpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stoker.cache.reads, "READS_KEPT", 2)
    monkeypatch.setattr(stoker.cache.reads, "ENTRIES_PER_CALL", 2)
    await read(client, keys, note1=1, note2=2, note3=3, note4=4, note5=5)
    assert await ranked(client, keys) == [("5", 5.0), ("4", 4.0)]


async def test_a_flush_takes_no_command_for_each_entry(
    client: CacheClient, keys: KeySpace, cache_url: str
) -> None:
    await read(client, keys, note1=1)
    async with Redis.from_url(cache_url, decode_responses=True) as redis, redis.monitor() as monitor:
        await read(client, keys, **{f"note{number}": 2 for number in range(1, 101)})
        await redis.exists(keys.reads)
        seen: list[str] = []
        while not seen or not seen[-1].startswith("EXISTS"):
            command = (await monitor.next_command())["command"]
            if keys.root in command:
                seen.append(command)
    assert len(seen) < 20
    assert await ranked(client, keys, 1) == [("1", 3.0)]


async def test_what_takes_too_much_room_is_not_ranked(client: CacheClient, keys: KeySpace) -> None:
    accounting = Accounting()
    accounting.read(write_key(key(1)))
    accounting.read(write_key(key(2)._replace(params="x" * LONGEST_MEMBER)))
    await accounting.flush(client, keys)
    assert await ranked(client, keys) == [("1", 1.0)]


async def test_last_reads_come_hottest_first(client: CacheClient, keys: KeySpace, clock: Clock) -> None:
    await read(client, keys, note2=5, note3=1)
    clock.now_s += 1
    await read(client, keys, note1=2)
    found = await last_reads(client, keys, [key(1), key(4), key(3), key(2)])
    assert [one.scope.id for one in found] == ["2", "1", "3", "4"]
    assert found[key(1)] == pytest.approx(clock.now_s, abs=0.001)
    assert found[key(4)] is None


async def test_a_hit_counts_for_the_entry_and_for_its_access(client: CacheClient, keys: KeySpace) -> None:
    accounting, plans = Accounting(), [plan(number) for number in range(3)]
    for one in plans * 4:
        accounting.hit(one, "ann")
    await accounting.flush(client, keys)
    await accounting.flush(client, keys)  # nothing is told twice
    assert await read_counters(client, keys, ["detail", "access"]) == {
        "detail": {"hits": 12},
        "access": {"hits": 12},
    }
    assert {reads for _, reads in await ranked(client, keys)} == {4.0}


async def test_hits_of_very_many_entries_are_all_counted(
    client: CacheClient, keys: KeySpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stoker.cache.accounting.HITS_PENDING", 2)
    accounting = Accounting()
    for number in range(7):
        accounting.hit(plan(number), "ann")
        assert len(accounting._hits) <= 2
    await accounting.flush(client, keys)
    assert (await read_counters(client, keys, ["detail"]))["detail"] == {"hits": 7}


async def test_counts_that_could_not_be_told_are_kept(client: CacheClient, keys: KeySpace) -> None:
    accounting = Accounting()
    accounting.hit(plan(1), "ann")
    nobody = CacheClient("redis://127.0.0.1:1", timeout_s=1, connections=1)
    with pytest.raises(CacheUnavailable):
        await accounting.flush(nobody, keys)
    await accounting.flush(client, keys)
    assert (await read_counters(client, keys, ["detail"]))["detail"] == {"hits": 1}
