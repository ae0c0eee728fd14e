"""Many readers at once, and readers that wait or leave (rows 11, 12, 31, 41)."""

from __future__ import annotations

import asyncio

import pytest

from tests.races.race import race
from tests.races.world import World, never, patience, turns
from tests.support.traps import Held


@race("the lease across processes")
async def test_a_herd_in_two_processes_does_not_load_twice(world: World) -> None:
    """Row 11. One future for each process, one lease for all of them."""
    one, two = world.first, await world.process()
    await one.read(view="access")
    loaders = [one.notes.hold_before("detail"), two.notes.hold_before("detail")]
    asked = [process.cache_link.count(process.digest("begin")) for process in (one, two)]
    herd = [world.begin(process.read()) for process in (one, two) for _ in range(20)]
    async with patience("not every reader came"):
        await asyncio.gather(*(each.reach(20) for each in asked))
    for loader in loaders:
        loader.release()
    answers = await asyncio.gather(*herd)
    assert {answer.value["body"] for answer in answers} == {"v1"}
    loads = one.notes.loads.get("detail", 0) + two.notes.loads.get("detail", 0)
    never(f"the loader ran {loads} times", happened=loads != 1)


@race("one future per process")
async def test_a_herd_behind_a_dead_builder_does_not_load_one_each(world: World) -> None:
    """Row 11. A reader that has waited long enough builds, and all others of the process join."""
    process = await world.process(cache={"lease_wait_s": 0.01})
    await process.read(view="access")
    store = process.stoker.cache.store
    assert (await store.begin([world.names()]))[0] is not None, "a builder takes the lease and dies"
    answers = await asyncio.gather(*(process.read() for _ in range(12)))
    assert {answer.value["body"] for answer in answers} == {"v1"}
    loads = process.notes.loads["detail"]
    never(f"the loader ran {loads} times", happened=loads != 1)


@race("the cap on loads")
async def test_a_herd_on_many_entries_does_not_take_every_connection(world: World) -> None:
    """Rows 11, 19. Loads of one process are capped, whatever is asked for."""
    process = await world.process(loaders={"connections": 2})
    await world.sql("INSERT INTO notes SELECT id, 'x' FROM generate_series(2, 9) AS id")
    await world.sql("INSERT INTO note_members SELECT id, 1 FROM generate_series(2, 9) AS id")
    for note_id in range(2, 10):
        await process.read(note_id, "access")
    loader = process.notes.hold_before("detail")
    asked = process.cache_link.count(process.digest("begin"))
    herd = [world.begin(process.read(note_id)) for note_id in range(2, 10)]
    async with patience("not every load is under way"):
        await asked.reach(len(herd))
        await loader.reached.wait()
    await turns()
    under_way = process.notes.loads["detail"]
    never(f"{under_way} loads at once", happened=under_way > 2)
    loader.release()
    await asyncio.gather(*herd)


@race("the lease naming its stamp")
async def test_readers_do_not_wait_for_a_build_that_a_change_has_doomed(world: World) -> None:
    """Row 12. Under another stamp the lease is free."""
    slow, quick = world.first, await world.process()
    await quick.read(view="access")
    loader = slow.notes.hold_after("detail")
    doomed = world.begin(slow.read())
    await loader.reached.wait()
    await world.change("v2")
    await quick.read(view="access")
    asked = quick.cache_link.count(quick.digest("begin"))
    late = world.begin(quick.read())
    await world.either(late, asked.reach(2))
    never("the reader asked for the lease again and again", happened=not late.done())
    loader.release()
    await doomed


@race("the token at the release")
async def test_a_build_that_failed_late_does_not_free_anothers_lease(world: World) -> None:
    """Row 12. A lease is given back only by its token."""
    slow, quick = world.first, await world.process()
    await slow.read(view="access")
    early = slow.notes.hold_before("detail")
    failing = world.begin(slow.read())
    await early.reached.wait()
    await world.redis.unlink(world.names().lease)  # it ran out
    building = quick.notes.hold_after("detail")
    build = world.begin(quick.read())
    await building.reached.wait()
    slow.notes.failing["detail"] = RuntimeError("too late")
    early.release()
    with pytest.raises(RuntimeError, match="too late"):
        await failing
    held = await world.redis.exists(world.names().lease)
    never("the other's lease is gone", happened=not held)
    building.release()
    await build


@race("the token at the store")
async def test_a_build_that_stored_late_does_not_free_anothers_lease(world: World) -> None:
    """Row 12. The storing script gives back its own lease only."""
    slow, quick = world.first, await world.process()
    await slow.read(view="access")
    early = slow.notes.hold_after("detail")
    late = world.begin(slow.read())
    await early.reached.wait()
    await world.redis.unlink(world.names().lease)
    building = quick.notes.hold_after("detail")
    build = world.begin(quick.read())
    await building.reached.wait()
    early.release()
    await late
    never("the other's lease is gone", happened=not await world.redis.exists(world.names().lease))
    building.release()
    await build


@race("flights joined only under one's own stamp")
async def test_a_reader_after_the_change_does_not_join_a_load_from_before_it(world: World) -> None:
    """Row 31. A future is joined only under the stamps that the reader itself obtained."""
    process = world.first
    process.notes.hold_after("detail")
    overtaken = world.begin(process.read())
    loader: Held = process.notes.after["detail"]
    await loader.reached.wait()
    del process.notes.after["detail"]
    await world.change("v2")
    late = await process.read(without_s=2)
    never(f"it was shown {late.value}", happened=late.value["body"] != "v2")
    loader.release()
    await overtaken


@race("no load joined that has begun")
async def test_a_reader_without_a_stamp_does_not_join_an_open_load(world: World) -> None:
    """Row 31. With the breaker open, no load is joined whose transaction may be open."""
    process = world.first
    process.stoker.cache.breaker.trip("a test")
    loader = process.notes.hold_after("detail")
    early = world.begin(process.read())
    await loader.reached.wait()
    del process.notes.after["detail"]
    await world.sql("UPDATE notes SET body = 'v2'")
    late = await process.read(without_s=2)
    assert late.value["body"] == "v2"
    loader.release()
    assert (await early).value["body"] == "v1"


@race("detached loads")
async def test_a_reader_that_goes_away_does_not_cancel_those_who_joined(world: World) -> None:
    """Row 41. Loads run by themselves; readers wait for them, and may stop waiting."""
    process = world.first
    await process.read(view="access")
    loader = process.notes.hold_before("detail")
    asked = process.cache_link.count(process.digest("begin"))
    first = world.begin(process.read())
    await loader.reached.wait()
    second = world.begin(process.read())
    await asked.reach(2)
    await turns()
    first.cancel()
    await asyncio.wait({first})
    loader.release()
    async with patience("the second reader got no answer"):
        await asyncio.wait({second})
    never("the second reader was cancelled too", happened=second.cancelled() or bool(second.exception()))
    assert process.notes.loads["detail"] == 1


@race("leases given back by who goes away")
async def test_a_reader_that_goes_away_does_not_leave_a_lease_that_nobody_uses(world: World) -> None:
    """Row 41. Cancelled while the stamps are being taken: the lease is given back, or its build goes on."""
    process = world.first
    await process.read(view="access")
    taking = process.cache_link.hold_reply(process.digest("begin"))
    leaving = world.begin(process.read())
    async with patience("the lease was not asked for"):
        await taking.reached.wait()
    leaving.cancel()
    await asyncio.wait({leaving})
    taking.release()
    other = await world.process()
    await other.read(view="access")
    asked = other.cache_link.count(other.digest("begin"))
    reading = world.begin(other.read())
    await world.either(reading, asked.reach(4))
    never("the reader waits for nobody", happened=not reading.done())


@race("leases given back by who goes away")
async def test_a_job_that_is_cancelled_does_not_leave_leases_that_nobody_uses(world: World) -> None:
    """Row 41. Refreshing and warming give back a lease that they were taking, as a reader does."""
    process, other = world.first, await world.process()
    await other.read(view="access")
    taking = process.cache_link.hold_reply(process.digest("begin"))
    job = world.begin(process.stoker.cache.filler.fill_many([process.stoker.domain.key("detail", 1)]))
    async with patience("the lease was not asked for"):
        await taking.reached.wait()
    job.cancel()
    await asyncio.wait({job})
    taking.release()
    asked = other.cache_link.count(other.digest("begin"))
    reading = world.begin(other.read())
    await world.either(reading, asked.reach(4))
    never("the reader waits for nobody", happened=not reading.done())
