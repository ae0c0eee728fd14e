"""With bounded staleness on: never older than the bound, never a right, never one's own writes (row 20)."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest

import stoker.cache.near
from stoker import Asked, Forbidden, Invalidation, NotFound, State
from tests.races.race import race
from tests.races.world import Process, World, never
from tests.support.notes import NoteChanged, reader

LONG_MS = 60_000


class Clock:
    """The monotonic clock of the bound, put forward by the test."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead_s


async def _unasked(world: World) -> Process:
    """A process that asks nothing about `mine` for a minute, warm."""
    process = await world.process(cache={"near_unasked_ms": LONG_MS})
    for _ in range(3):
        await process.read(view="mine")
    return process


async def test_an_entry_that_was_just_found_valid_is_served_without_asking(world: World) -> None:
    process = await _unasked(world)
    asked = process.cache_link.count(b"MGET")
    process.cache_link.freeze()
    assert (await process.read(view="mine")).state is State.HIT
    [answer] = await process.stoker.read_many([Asked("mine", 1)], reader=1)
    assert not isinstance(answer, Exception)
    assert asked.count == 0


async def test_without_the_setting_redis_is_always_asked(world: World) -> None:
    process = await world.process()
    await process.read(view="mine")
    asked = process.cache_link.count(b"MGET")
    for _ in range(3):
        await process.read(view="mine")
    assert asked.count == 3


@race("the bound on what goes unasked")
async def test_what_is_served_unasked_is_never_older_than_the_bound(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 20, bounded. The time counts from before Redis was asked."""
    clock = Clock()
    process = await _unasked(world)
    monkeypatch.setattr(stoker.cache.near, "time", clock)
    await world.change("v2")
    assert (await process.read(view="mine")).value == ["v1"]  # the promise that the setting gives up
    clock.ahead_s = LONG_MS / 1000
    shown = (await process.read(view="mine")).value
    never(f"past the bound {shown} was shown", happened=shown != ["v2"])


@race("the bound counted from the question")
async def test_a_late_reply_does_not_make_an_old_entry_young(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 20, bounded. A reply that says "valid" may be as old as its question."""
    clock = Clock()
    process = await world.process(cache={"near_unasked_ms": LONG_MS})
    monkeypatch.setattr(stoker.cache.near, "time", clock)
    await process.read(view="mine")
    reply = process.cache_link.hold_reply(b"MGET")
    waiting = world.begin(process.read(view="mine"))
    await reply.reached.wait()
    await world.change("v2")
    clock.ahead_s = LONG_MS / 1000
    reply.release()
    assert (await waiting).value == ["v1"]  # begun before the change
    shown = (await process.read(view="mine")).value
    never(f"past the bound {shown} was shown", happened=shown != ["v2"])


@race("access asked in spite of the bound")
async def test_a_right_is_never_taken_from_before(world: World) -> None:
    """Row 23. Entries that access guards are asked for at every read, and so is access itself."""
    process = await world.process(cache={"near_unasked_ms": LONG_MS})
    for view in ("detail", "access"):
        for _ in range(3):
            await process.read(view=view)
    await world.remove_member()
    with suppress(Forbidden):
        shown = (await process.read()).value
        never(f"a removed member was shown {shown}", happened=True)
    shown = (await process.read(view="access")).value
    never(f"access still says {shown}", happened=shown != {})


@race("own writes asking again")
async def test_a_writer_who_waits_reads_what_it_wrote(world: World) -> None:
    """Row 25, bounded. A process that has seen a change applied serves nothing from before it."""
    process = await _unasked(world)
    async with process.stoker.session() as session:
        receipt = process.stoker.record(session, NoteChanged(note_id=1, readers=(1,)))
        await session.commit()
    await world.sql("UPDATE notes SET body = 'v2'")
    await world.first.apply()
    await receipt.applied()
    shown = (await process.read(view="mine")).value
    never(f"its writer was shown {shown}", happened=shown != ["v2"])


@race("own writes asking again")
async def test_what_a_process_invalidates_itself_is_not_served_unasked(world: World) -> None:
    """Row 25, bounded. The same for invalidating without worker and queue."""
    process = await _unasked(world)
    await world.sql("UPDATE notes SET body = 'v2'")
    await process.stoker.invalidate_now([Invalidation(reader(1))])
    shown = (await process.read(view="mine")).value
    never(f"{shown} was shown", happened=shown != ["v2"])


async def test_an_open_breaker_reads_sql_whatever_is_kept(world: World) -> None:
    process = await _unasked(world)
    process.stoker.cache.breaker.trip("the test says so")
    assert (await process.read(view="mine")).state is State.BYPASS


async def test_another_reader_gets_nothing_unasked(world: World) -> None:
    process = await _unasked(world)
    with pytest.raises(Forbidden):
        await process.read(view="mine", reader=2)
    with pytest.raises(NotFound):
        await process.read(99, reader=1)
