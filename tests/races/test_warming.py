"""Keeping warm what is read: the hottest first, and only while it is read."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import stoker.handlers.warm
from stoker.handlers.hot import READERS_FIRST
from stoker.jobs import KeepWarm, Lane
from stoker.queue.wire import queue_name
from stoker.redis.connection import ServerRun
from tests.races.world import World

READERS_FIRST_MS = READERS_FIRST.total_seconds() * 1000


async def _read_then_evicted(world: World, **times: int) -> None:
    """Notes read so often, told to Redis, and then evicted."""
    stoker = world.first.stoker
    store = stoker.cache.store
    await world.sql("INSERT INTO notes VALUES (2, 'v1')")
    await world.sql("INSERT INTO note_members VALUES (2, 1)")
    for name, count in times.items():
        for _ in range(count):
            await world.first.read(int(name.removeprefix("note")))
    await stoker.accounting.flush(store.client, store.keys)
    for note_id in (1, 2):
        await world.redis.delete(world.names(note_id=note_id).entry)


async def test_the_hottest_entries_are_kept_warm(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stoker.handlers.warm, "HOT_KEPT_WARM", 1)
    await _read_then_evicted(world, note1=2, note2=5)
    await world.first.task(KeepWarm())
    assert await world.kept(note_id=2) is not None
    assert await world.kept(note_id=1) is None


async def test_what_nobody_has_read_for_a_life_is_left_to_expire(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _read_then_evicted(world, note1=2)
    process = await world.process(cache={"ttl_s": {"detail": 100}})
    for seconds, is_built in ((101, False), (50, True)):
        with monkeypatch.context() as patch:
            patch.setattr(ServerRun, "now_us", _later(seconds))
            await process.task(KeepWarm())
        assert (await world.kept() is not None) == is_built


async def test_what_guards_an_entry_is_kept_warm_with_it(world: World) -> None:
    await _read_then_evicted(world, note1=2)
    await world.redis.delete(world.names("access").entry)
    await world.first.task(KeepWarm())
    assert await world.kept("access") is not None


@pytest.mark.parametrize("noted_s", [-10, 0])
async def test_what_nobody_has_read_since_it_was_built_is_not_built_again(
    world: World, monkeypatch: pytest.MonkeyPatch, noted_s: int
) -> None:
    """Reads are reported with the next flush: those older than two flushes came before the build."""
    process = await world.process(cache={"stats_flush_s": 2})
    await world.warmed(process)
    store = process.stoker.cache.store
    with monkeypatch.context() as patch:
        patch.setattr(ServerRun, "now_us", _later(noted_s))
        await process.stoker.accounting.flush(store.client, store.keys)
    await world.write()
    await process.apply()
    queue = process.stoker.queue
    asked = await queue.redis.zrange(queue_name(queue.settings, Lane.REFRESH), 0, -1, withscores=True)
    # A job's id begins with the millisecond of its asking: whoever reads in that moment goes first.
    assert all(due_ms >= int(job_id[:11], 16) + READERS_FIRST_MS for job_id, due_ms in asked)
    await process.task(KeepWarm())
    built_again = noted_s == 0
    assert (await world.kept() is not None) == built_again
    assert bool(asked) == built_again


def _later(by_s: float) -> Callable[[ServerRun], int]:
    """The server's clock, so many seconds on."""
    now_us = ServerRun.now_us
    return lambda server: now_us(server) + round(by_s * 1_000_000)
