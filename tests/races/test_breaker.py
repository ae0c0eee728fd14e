"""While Redis is away, and when it is back (rows 7, 34, 38, 39); outages of SQL."""

from __future__ import annotations

import asyncio
import itertools
from datetime import timedelta

import pytest
from sqlalchemy import text

import stoker.revocation
from stoker import CommittedNotApplied, Invalidation, Refresh, State
from stoker.cache.breaker import Unsettled
from stoker.errors import DatabaseUnavailable
from stoker.outbox.rows import backlog
from tests.races.race import race
from tests.races.world import World, deferred, never, patience
from tests.support.notes import MemberRemoved, NoteChanged, Poison, note

HALF_AN_HOUR_S = 1800


@race("closing on what SQL says")
async def test_a_breaker_does_not_close_before_the_waiting_events_are_applied(world: World) -> None:
    """Row 38. It closes when SQL shows no unsettled event older than the moment Redis answered again."""
    process = await world.warmed(await world.process())
    breaker = process.stoker.cache.breaker
    process.cache_link.cut()
    assert (await process.read()).state is State.BYPASS
    await world.write("v2")
    assert await process.body() == "v2"
    process.cache_link.mend()
    await breaker.check()
    shown = await process.body()
    never(f"after v2 the reader was shown {shown}", happened=shown != "v2")
    assert breaker.open
    await world.first.apply()
    await breaker.check()
    assert not breaker.open
    await world.must_show("v2", process)


@race("the age of the oldest event")
async def test_a_dead_worker_does_not_mean_stale_pages(world: World) -> None:
    """Row 38. An unsettled event that is too old opens the breaker, though Redis answers."""
    process = await world.warmed()
    await world.write("v2")
    await world.sql("UPDATE stoker.cache_events SET recorded_at = recorded_at - interval '1 minute'")
    await process.stoker.cache.breaker.check()
    shown = await process.body()
    never(f"{shown} was shown after a minute", happened=shown != "v2")
    await process.apply()
    for _ in range(2):
        await process.stoker.cache.breaker.check()
    assert not process.stoker.cache.breaker.open
    await world.must_show("v2")


@race("the age of the oldest event", "events of the future counting as old")
async def test_a_clock_that_went_back_does_not_hide_a_dead_worker(world: World) -> None:
    """Rows 17, 38. An unsettled event of the future was recorded before: it opens, and keeps it open."""
    process = await world.warmed()
    await world.write("v2")
    await world.sql("UPDATE stoker.cache_events SET recorded_at = recorded_at + interval '1 hour'")
    assert (await backlog(process.stoker.engine)).oldest_age_s > HALF_AN_HOUR_S
    await process.stoker.cache.breaker.check()
    shown = await process.body()
    never(f"{shown} was shown, whatever its age", happened=shown != "v2")
    await process.apply()
    for _ in range(2):
        await process.stoker.cache.breaker.check()
    assert not process.stoker.cache.breaker.open


@race("events of the future counting as old")
async def test_a_clock_that_went_back_does_not_close_a_breaker_too_early(world: World) -> None:
    """Rows 17, 38. An event recorded during the outage, before the clock went back by a little."""
    process = await world.warmed()
    breaker = process.stoker.cache.breaker
    breaker.trip("an outage")
    await breaker.check()
    assert not breaker.open
    breaker.trip("an outage")
    await world.write("v2")
    await world.sql("UPDATE stoker.cache_events SET recorded_at = clock_timestamp() + interval '10 seconds'")
    await breaker.check()
    shown = await process.body()
    never(f"after v2 the reader was shown {shown}", happened=shown != "v2")


@race("failing events not counting as a dead worker")
async def test_one_poisonous_event_does_not_take_the_cache_from_everybody(world: World) -> None:
    """Rows 36, 38. An event that fails alone alarms; it neither opens the breaker nor keeps it open."""
    process = await world.warmed()
    await world.write("v1", event=Poison(note_id=2))
    await process.apply()
    await world.sql("UPDATE stoker.cache_events SET recorded_at = recorded_at - interval '1 minute'")
    await process.stoker.cache.breaker.check()
    never("the breaker is open for one event", happened=process.stoker.cache.breaker.open)
    process.stoker.cache.breaker.trip("an outage")
    for _ in range(2):
        await process.stoker.cache.breaker.check()
    never("the breaker stays open for one event", happened=process.stoker.cache.breaker.open)


@race("loops that go on")
async def test_an_answer_that_nobody_foresaw_does_not_end_the_watch(world: World) -> None:
    """Row 38. After a rotated password, or during a migration of a table, it checks again."""
    process = await world.process(cache={"watch_s": 0.01})
    breaker = process.stoker.cache.breaker
    checks = itertools.count()
    again = asyncio.Event()
    unsettled = breaker._unsettled

    async def refused_once() -> Unsettled:
        if next(checks) == 0:
            await world.sql("SELECT nothing FROM nowhere")
        again.set()
        return await unsettled()

    breaker._unsettled = refused_once
    watch = process.stoker._parts.loops[0]
    await world.either(watch, again.wait())
    never("the watch has ended", happened=watch.done())


@race()
async def test_an_error_reply_does_not_reach_the_reader(world: World) -> None:
    """A server that answers, but not with an entry (busy, a replica, no right), counts as away."""
    process = await world.warmed()
    process.cache_link.answer(b"MGET", b"-BUSY Valkey is busy running a script.\r\n")
    answer = await process.read()
    assert (answer.value["body"], answer.state) == ("v1", State.BYPASS)
    assert process.stoker.cache.breaker.open


@race()
async def test_a_silent_cache_does_not_keep_a_herd_waiting_one_by_one(world: World) -> None:
    """Row 38. Many readers share the one deadline of a cache that answers nothing."""
    process = await world.process(cache={"timeout_s": 0.6})
    await world.warmed(process)
    process.cache_link.freeze()
    async with patience("readers waited one after another"):  # that would take a minute
        answers = await asyncio.gather(*(process.stoker.read("detail", 1, reader=1) for _ in range(100)))
    assert {answer.state for answer in answers} == {State.BYPASS}


@race()
async def test_a_cache_that_leaves_during_a_build_does_not_take_the_answer_along(world: World) -> None:
    """Row 7. What was built is answered, though it could not be kept."""
    process = world.first
    await process.read(view="access")
    loader = process.notes.hold_after("detail")
    build = world.begin(process.read())
    await loader.reached.wait()
    process.cache_link.cut()
    loader.release()
    assert (await build).value["body"] == "v1"
    assert process.stoker.cache.breaker.open


@race("errors of unlinks raised")
async def test_a_removal_that_nobody_applied_is_not_called_done(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 39. Worker and cache unreachable: the caller gets CommittedNotApplied."""
    monkeypatch.setattr(stoker.revocation, "PATIENCE", timedelta(0))
    elsewhere = await world.warmed(await world.process())
    ours = world.first.stoker
    async with ours.session() as session:
        await session.execute(text("DELETE FROM note_members WHERE reader_id = 1"))
        ours.record(session, MemberRemoved(note_id=1, reader_id=1))
        events = await ours._parts.outbox.recorded_in(session)
        world.first.cache_link.cut()
        try:
            await ours.commit_revocation(session)
        except CommittedNotApplied:
            world.first.cache_link.mend()
            await stoker.revocation.take_effect(ours._parts, events, ours.unlink)
    role = (await elsewhere.stoker.cache.store.lookup.fetch((world.names("access"),)))[0]
    never("the removed member's right is still cached", happened=role.miss is None)


@race()
async def test_an_outage_of_sql_does_not_take_hits_along(world: World) -> None:
    """Postgres away: what is valid is served; what must be built says so; the lease is given back."""
    process = await world.warmed(await world.process(loaders={"connections": 1}))

    async def away(*_: object) -> None:
        raise DatabaseUnavailable("a test")

    object.__setattr__(process.stoker.cache.filler.loads, "_in_snapshot", away)
    assert (await process.read()).state is State.HIT
    await process.stoker.invalidate_now([Invalidation(note(1), frozenset({"detail"}))])
    assert (await process.read()).state is State.STALE
    await process.stoker.invalidate_now([Invalidation(note(1), hard=True)])
    with pytest.raises(DatabaseUnavailable):
        await process.read()
    assert not await world.redis.exists(world.names().lease, world.names("access").lease)


@race("leases of a whole batch given back")
async def test_a_batch_that_failed_does_not_keep_leases_of_what_it_never_built(world: World) -> None:
    """Row 12. One view's loader fails: the leases of the views behind it are given back, too."""
    process = world.first
    process.notes.failing["detail"] = RuntimeError("no SQL")
    keys = [process.stoker.domain.key(view, 1) for view in ("detail", "summary")]
    with pytest.raises(RuntimeError):
        await process.stoker.cache.filler.fill_many(keys)
    left = await world.redis.exists(world.names("detail").lease, world.names("summary").lease)
    never("readers of the other view wait for nobody", happened=left > 0)


@race("overtaken refreshes deferred")
async def test_a_refresh_that_finds_another_build_is_not_dropped(world: World) -> None:
    """Row 26. That build may have read before the change that asked for this one: deferred."""
    process, other = world.first, await world.process()
    loader = other.notes.hold_after("detail")
    build = world.begin(other.read())
    await loader.reached.wait()
    is_deferred = await deferred(process.task(Refresh(view="detail", scope_id="1")))
    never("the refresh was dropped", happened=not is_deferred)
    loader.release()
    await build


@race("an open breaker keeping reads away")
async def test_reads_do_not_cost_a_call_while_the_breaker_is_open(world: World) -> None:
    """Row 38. Open means: Redis is not touched by reads."""
    process = await world.warmed()
    process.stoker.cache.breaker.trip("a test")
    asked = process.cache_link.count(b"MGET")
    states = {(await process.read()).state for _ in range(5)}
    never(f"Redis was asked {asked.count} times", happened=asked.count > 0)
    assert states == {State.BYPASS}
    await world.write("v2", event=NoteChanged(note_id=1))
    assert await process.body() == "v2"
