"""What a stamp proves when servers, connections and clocks misbehave (rows 8, 14, 17, 19, 20, 24, 37)."""

from __future__ import annotations

import asyncio

from stoker import State, Warm
from tests.races.race import race
from tests.races.rewinding import Rewinding
from tests.races.world import World, never, patience


@race("the run compared by the read")
async def test_a_server_that_went_back_in_time_does_not_bring_an_entry_back(rewinding: Rewinding) -> None:
    """Row 8. A stamp names its server's run; one of another run counts as missing."""
    world = rewinding.world
    await world.warmed()
    await rewinding.remember()
    await world.change("v2")
    await rewinding.go_back()
    await world.must_show("v2")


@race("the run compared when stamps are taken")
async def test_a_server_that_went_back_in_time_does_not_stay_cold(rewinding: Rewinding) -> None:
    """Row 8. A stamp of another run is replaced, so what is built next is kept."""
    world = rewinding.world
    await world.warmed()
    await rewinding.remember()
    await rewinding.go_back()
    await world.first.read()
    state = (await world.first.read()).state
    never("nothing is ever kept again", happened=state is not State.HIT)


@race("the run compared by the read")
async def test_fail_safe_does_not_serve_what_went_back_in_time(rewinding: Rewinding) -> None:
    """Rows 8, 22. An old run's hard stamp revives nothing."""
    world = rewinding.world
    await world.warmed()
    await rewinding.remember()
    await rewinding.go_back()
    world.first.stoker.cache.store.lookup.near.drop(world.names().entry)
    world.first.notes.failing["detail"] = RuntimeError("no SQL")
    try:
        shown = await world.first.read()
    except RuntimeError:
        return
    never(f"{shown.value} was served", happened=True)


@race("stamps")
async def test_a_build_that_spans_a_restart_is_not_kept(rewinding: Rewinding) -> None:
    """Rows 1, 8. The stamp of a build that began before the restart is gone, or of another run."""
    world = rewinding.world
    loader = world.first.notes.hold_after("detail")
    build = world.begin(world.first.read())
    await loader.reached.wait()
    await rewinding.remember()
    await rewinding.go_back()
    await world.change("v2")
    loader.release()
    await build
    await world.must_show("v2")


@race("a missing stamp being a miss")
async def test_an_evicted_stamp_does_not_leave_its_entry_valid(world: World) -> None:
    """Row 14. A missing stamp is a miss: the change that followed had nothing to unlink."""
    await world.warmed()
    await world.redis.unlink(world.names().stamp)
    await world.change("v2")
    await world.must_show("v2")


@race("random stamps")
async def test_a_new_stamp_does_not_make_an_old_entry_valid_again(world: World) -> None:
    """Row 14. New stamps are random."""
    process = await world.warmed()
    await world.change("v2")
    loader = process.notes.hold_before("detail")
    taking = world.begin(process.read())
    await world.either(taking, loader.reached.wait())
    shown = await world.kept()
    never(f"{shown!r} is valid again", happened=shown is not None)
    loader.release()
    await taking


@race("the time in the stamp")
async def test_a_call_that_is_sent_again_does_not_make_the_same_stamp_twice(world: World) -> None:
    """Row 37. Between the two executions of one call, its stamp was unlinked; the second makes another."""
    process = world.first
    await process.read(view="access")
    begin = process.digest("begin")
    lost = process.cache_link.lose_reply(begin)
    again = process.cache_link.hold_request(begin)
    slow = world.begin(process.read())
    async with patience("the call was not sent again"):
        await lost.reached.wait()
        await again.reached.wait()
    quick = await world.process(cache={"lease_wait_s": 0.01})
    assert await quick.body() == "v1"
    assert await world.kept(process=quick) is not None, "built under the stamp that the lost reply told"
    other = await world.process()
    await world.write("v2")
    await other.apply()
    loader = process.notes.hold_before("detail")
    again.release()
    await world.either(slow, loader.reached.wait())
    shown = await world.kept(process=quick)
    never(f"{shown!r} from before the change is valid again", happened=shown is not None)
    loader.release()
    await slow


@race("a call knowing its own lease")
async def test_a_call_that_is_sent_again_does_not_wait_for_its_own_lease(world: World) -> None:
    """Row 37. The first execution won the lease; the second knows its own token."""
    process = world.first
    await process.read(view="access")
    process.cache_link.lose_reply(process.digest("begin"))
    await process.read(without_s=2)


@race("the place in the line")
async def test_a_cancelled_readers_reply_does_not_reach_the_next(world: World) -> None:
    """Row 24. A cancelled caller keeps its place in the queue of replies: its reply is read and dropped."""
    process = await world.process()
    await world.warmed(process)
    reply = process.cache_link.hold_reply(b"MGET")
    leaving = world.begin(process.read())
    await reply.reached.wait()
    leaving.cancel()
    await asyncio.wait({leaving})
    await world.change("v2")
    sent = process.cache_link.count(b"MGET")
    late = world.begin(process.read())
    await sent.reach(1)
    reply.release()
    shown = (await late).value["body"]
    never(f"it received the other's reply: {shown}", happened=shown != "v2")


@race("the key in the envelope")
async def test_another_entrys_reply_is_not_taken_for_ones_own(world: World) -> None:
    """Row 24. The key is embedded in the envelope and compared on every read."""
    await world.sql("INSERT INTO notes VALUES (2, 'other')")
    await world.sql("INSERT INTO note_members VALUES (2, 1)")
    await world.first.read(2)
    for one, two in zip(world.names(note_id=1)[:3], world.names(note_id=2)[:3], strict=True):
        await world.redis.copy(two, one, replace=True)
    await world.must_show("v1")


@race("the server's clock")
async def test_a_node_whose_clock_is_wrong_does_not_judge_by_it(world: World) -> None:
    """Row 17. Stamps decide; ages are measured in the server's time, learned with each connection."""
    await world.warmed()
    state = (await (await world.process()).read()).state
    never(f"it judged a young entry to be old: {state}", happened=state is not State.HIT)


@race("jitter")
async def test_what_was_filled_together_does_not_expire_together(world: World) -> None:
    """Row 19. TTLs are jittered."""
    await world.sql("INSERT INTO notes SELECT id, 'x' FROM generate_series(2, 40) AS id")
    await world.first.task(Warm(target="active"))
    lives = {
        round((await world.redis.pttl(world.names("detail", one).entry)) / 10_000) for one in range(2, 41)
    }
    never(f"40 entries expire at {len(lives)} times", happened=len(lives) < 10)


@race("stamps read before a near entry is served")
async def test_what_a_process_keeps_is_not_served_after_a_change(world: World) -> None:
    """Row 20. A kept entry is served only after its stamps were read in this very request."""
    reader = await world.warmed(await world.process())
    await world.change("v2")
    await world.must_show("v2", reader)


@race("stamps read before a near entry is served")
async def test_a_reply_from_before_the_change_is_not_kept_near_as_valid(world: World) -> None:
    """Row 20. A reply in flight while the change was applied is kept near, but under its old stamps."""
    await world.warmed()
    reader = await world.process()
    await reader.read(view="access")
    reply = reader.cache_link.hold_reply(b"MGET")
    early = world.begin(reader.read())
    await reply.reached.wait()
    await world.change("v2")
    reply.release()
    await early
    await world.must_show("v2", reader)
