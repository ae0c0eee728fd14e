"""Scenarios of finish.lua and depth.lua."""

from __future__ import annotations

from stoker.jobs import Lane
from stoker.queue import wire
from stoker.worker.engine.claims import Claim, Claims, Ending, Finish
from stoker.worker.engine.depth import depth
from tests.scripts.enqueueing import BEGUN, FLAG, HELD, HOUR, KEYED, R, W
from tests.scripts.ground import HOUR_MS, Ground, about
from tests.support.engine_stage import Work


async def claimed(ground: Ground) -> Claim:
    """A keyed job that runs."""
    await ground.put(KEYED)
    (claim,) = await ground.take(R)
    await ground.rung(R)
    return claim


@about("finish")
async def nothing_is_left_of_a_job_that_has_ended(ground: Ground) -> None:
    claim = await claimed(ground)
    job_id = claim.job_id
    for key in (f"arq:retry:{job_id}", f"s:rescues:{job_id}", "s:suspect:one"):
        await ground.redis.set(key, job_id)
    await ground.redis.zadd(wire.ABORTS, {job_id: 1})
    await ground.redis.sadd("s:cancelling", job_id)
    assert await ground.end(claim, R, totals=("done", "dropped"))
    left = {key.decode() async for key in ground.redis.scan_iter("*")}
    assert left == {"s:refresh:totals", "s:clock"}
    assert await ground.redis.hgetall(ground.name(R, ":totals")) == {b"done": b"1", b"dropped": b"1"}


@about("finish")
async def the_end_of_a_claim_that_was_lost_changes_nothing(ground: Ground) -> None:
    claim = await claimed(ground)
    await ground.redis.set(f"arq:in-progress:{claim.job_id}", "two")
    assert not await ground.end(claim, R, totals=("done",))
    assert await ground.redis.exists(f"arq:job:{claim.job_id}", ground.name(R, ":running")) == 2
    assert not await ground.redis.exists(ground.name(R, ":totals"))


@about("finish")
async def a_job_goes_back_at_once_and_rings(ground: Ground) -> None:
    claim = await claimed(ground)
    await ground.redis.set(f"s:rescues:{claim.job_id}", 2)
    await ground.redis.pexpire(f"arq:job:{claim.job_id}", 60_000)
    assert await ground.end(claim, R, Ending.AGAIN)
    assert await ground.rung(R) == 1
    assert await ground.get(FLAG) == claim.job_id, "requests join it"
    assert await ground.redis.pttl(f"s:{FLAG}") > 0
    assert await ground.redis.pttl(f"arq:job:{claim.job_id}") > HOUR_MS
    assert await ground.score(R, claim.job_id, ":running") is None
    assert not await ground.redis.exists(f"arq:in-progress:{claim.job_id}", f"s:rescues:{claim.job_id}")
    (again,) = await ground.take(R)
    assert (again.job_id, again.failed_runs) == (claim.job_id, 0)


@about("finish")
async def a_job_that_goes_back_later_rings_for_nobody(ground: Ground) -> None:
    claim = await claimed(ground)
    await ground.end(claim, R, Ending.AGAIN, delay_s=3600)
    assert await ground.rung(R) == 0
    assert (await ground.score(R, claim.job_id) or 0) - await ground.now_ms() > HOUR_MS - 10_000
    assert await ground.redis.pttl(f"arq:job:{claim.job_id}") > HOUR_MS


@about("finish")
async def one_token_is_enough_for_a_job_that_goes_back(ground: Ground) -> None:
    claim = await claimed(ground)
    await ground.redis.rpush(ground.name(R, ":bell"), "1")
    await ground.end(claim, R, Ending.AGAIN)
    assert await ground.rung(R) == 1


@about("finish")
async def a_retry_uses_a_try_whatever_the_count_was(ground: Ground) -> None:
    claim = await claimed(ground)
    counts = (("1", b"2"), ("nan", b"1"), ("abc", b"1"), ("-9", b"1"), ("1e300", b"1000001"))
    for number, (before, after) in enumerate(counts):
        key = f"arq:retry:{claim.job_id}"
        await ground.redis.set(key, before)
        await ground.end(claim, R, Ending.RETRY)
        assert await ground.redis.get(key) == after, number
        assert await ground.redis.pttl(key) > 0
        await ground.redis.delete(key)
        (claim,) = await ground.take(R)


@about("finish")
async def a_retry_goes_on_from_the_number_that_a_client_asked_for(ground: Ground) -> None:
    claim = await claimed(ground)
    await ground.end(claim, R, Ending.RETRY, run=3)
    assert await ground.redis.get(f"arq:retry:{claim.job_id}") == b"3"


@about("finish")
async def a_result_is_kept_for_a_client_of_arq_as_long_as_it_says(ground: Ground) -> None:
    claim = await claimed(ground)
    await ground.end(claim, R, result=b"\x80", result_s=60, unrepeated_s=30)
    key = f"arq:result:{claim.job_id}"
    assert await ground.redis.get(key) == b"\x80"
    assert 50_000 < await ground.redis.pttl(key) <= 60_000
    mark = f"arq:in-progress:{claim.job_id}"
    assert await ground.redis.get(mark) == b"1", "a stock worker leaves it alone"
    assert 20_000 < await ground.redis.pttl(mark) <= 30_000
    claim = await claimed(ground)
    await ground.end(claim, R, result=b"for ever")
    assert await ground.redis.pttl(f"arq:result:{claim.job_id}") == -1


@about("claim", "finish", "upkeep", "cancel", "depth", "enqueue")
async def a_queue_that_another_application_named_is_a_lane(ground: Ground) -> None:
    lane = Lane.of_queue("arq:queue", 3)
    claims = Claims(ground.queue.connection, ground.queue.settings, (lane,), owner="one")
    await ground.redis.zadd("arq:queue", {"job": 1000})
    await ground.redis.set("arq:job:job", b"\x80")
    (claim,) = (await claims.claim(lane, 1)).claims
    assert await ground.redis.zscore("arq:queue:running", "job") is not None
    assert (await claims.upkeep({lane: ["job"]}, rescue=True))[lane].lost == []
    assert await claims.finish([Finish(lane, claim.job_id, Ending.REMOVE)]) == [True]
    assert not await ground.redis.exists("arq:queue", "arq:queue:running")


@about("finish")
async def a_postponed_job_uses_no_try_and_keeps_its_backoff(ground: Ground) -> None:
    for before, after in ((None, b"0"), (b"3", b"3")):
        claim = await claimed(ground)
        key = f"arq:retry:{claim.job_id}"
        if before:
            await ground.redis.set(key, before)
        await ground.end(claim, R, Ending.POSTPONE, delay_s=60)
        assert await ground.redis.get(key) == after
        assert await ground.score(R, claim.job_id) is not None
        assert await ground.put(KEYED) == claim.job_id
        assert await ground.ids(R) == []
        await ground.redis.flushall()


@about("finish")
async def a_job_without_a_key_sets_no_flag(ground: Ground) -> None:
    for ending in (Ending.AGAIN, Ending.PARK, Ending.REMOVE):
        await ground.put(Work())
        (claim,) = await ground.take(W)
        await ground.redis.set("s:held:", "x")
        await ground.end(claim, W, ending)
        assert not await ground.redis.exists("s:waiting:")
        assert await ground.redis.exists("s:held:")
        await ground.redis.flushall()


@about("finish")
async def a_parked_job_waits_far_in_the_future_and_requests_join_it(ground: Ground) -> None:
    claim = await claimed(ground)
    await ground.redis.pexpire(f"arq:job:{claim.job_id}", 60_000)
    assert await ground.end(claim, R, Ending.PARK)
    now_ms = await ground.now_ms()
    assert (await ground.score(R, claim.job_id) or 0) - now_ms > 1000 * HOUR_MS
    assert abs((await ground.score(R, claim.job_id, ":parked") or 0) - now_ms) < HOUR_MS
    assert await ground.get(FLAG) == claim.job_id
    assert await ground.redis.pttl(f"arq:job:{claim.job_id}") > HOUR_MS
    assert await ground.score(R, claim.job_id, ":running") is None
    assert await ground.put(KEYED) == claim.job_id
    assert await ground.rung(R) == 0


@about("finish")
async def a_park_keeps_a_flag_that_another_job_has(ground: Ground) -> None:
    for ending in (Ending.PARK, Ending.AGAIN):
        claim = await claimed(ground)
        other = await ground.put(KEYED)
        await ground.end(claim, R, ending)
        assert await ground.get(FLAG) == other
        await ground.redis.flushall()


@about("finish")
async def the_end_of_the_first_of_a_key_brings_the_second_forward(ground: Ground) -> None:
    claim = await claimed(ground)
    second = await ground.put(KEYED)
    assert await ground.ids(R) == []
    await ground.rung(R)
    await ground.end(claim, R)
    assert await ground.rung(R) == 1
    assert not await ground.redis.exists(f"s:{HELD}", f"s:{BEGUN}")
    assert await ground.ids(R) == [second]


@about("finish")
async def a_held_job_that_is_gone_is_not_brought_back(ground: Ground) -> None:
    claim = await claimed(ground)
    await ground.redis.set(f"s:{HELD}", "gone")
    await ground.end(claim, R)
    assert await ground.score(R, "gone") is None
    assert await ground.rung(R) == 0
    assert await ground.get(HELD) is None


@about("finish")
async def the_mark_of_another_that_has_begun_stays(ground: Ground) -> None:
    claim = await claimed(ground)
    await ground.redis.set(f"s:{BEGUN}", "another")
    await ground.redis.set("s:suspect:one", "another")
    await ground.end(claim, R)
    assert (await ground.get(BEGUN), await ground.get("suspect:one")) == ("another", "another")


@about("finish")
async def a_cancelled_or_aborted_job_is_gone_however_its_run_ended(ground: Ground) -> None:
    for wish in ("cancelled", "aborted"):
        for ending in (Ending.AGAIN, Ending.RETRY, Ending.PARK):
            claim = await claimed(ground)
            await ground.redis.hset(f"s:progress:{claim.job_id}", "state", "running")
            if wish == "cancelled":
                await ground.redis.sadd("s:cancelling", claim.job_id)
            else:
                await ground.redis.zadd(wire.ABORTS, {claim.job_id: 1})
            await ground.end(claim, R, ending, totals=("failed",), state="queued", error="no")
            assert await ground.redis.exists(f"arq:job:{claim.job_id}", ground.name(R)) == 0, (wish, ending)
            assert await ground.redis.hgetall(ground.name(R, ":totals")) == {b"cancelled": b"1"}
            told = await ground.redis.hmget(f"s:progress:{claim.job_id}", "state", "error")
            assert told == [b"cancelled", b""]
            await ground.redis.flushall()


@about("finish")
async def a_job_that_came_to_its_own_end_is_done_though_it_was_to_be_cancelled(ground: Ground) -> None:
    claim = await claimed(ground)
    await ground.redis.sadd("s:cancelling", claim.job_id, "another")
    await ground.redis.zadd(wire.ABORTS, {"another": 1})
    await ground.end(claim, R, totals=("done",))
    assert await ground.redis.hgetall(ground.name(R, ":totals")) == {b"done": b"1"}
    assert await ground.redis.smembers("s:cancelling") == {b"another"}


@about("finish")
async def wishes_about_others_end_no_job(ground: Ground) -> None:
    claim = await claimed(ground)
    await ground.redis.sadd("s:cancelling", "another")
    await ground.redis.zadd(wire.ABORTS, {"another": 1})
    await ground.end(claim, R, Ending.AGAIN)
    assert await ground.ids(R) == [claim.job_id]


@about("finish")
async def the_last_word_is_written_where_somebody_follows(ground: Ground) -> None:
    claim = await claimed(ground)
    await ground.end(claim, R, state="done")
    assert not await ground.redis.exists(f"s:progress:{claim.job_id}")
    claim = await claimed(ground)
    await ground.redis.hset(f"s:progress:{claim.job_id}", "state", "running")
    await ground.end(claim, R, Ending.AGAIN)
    assert await ground.redis.hget(f"s:progress:{claim.job_id}", "state") == b"running"
    (claim,) = await ground.take(R)
    await ground.end(claim, R, state="failed", error="why")
    told = await ground.redis.hmget(f"s:progress:{claim.job_id}", "state", "error", "updated_ms")
    assert told[:2] == [b"failed", b"why"]
    assert abs(int(told[2]) - await ground.now_ms()) < HOUR_MS
    claim = await claimed(ground)
    await ground.redis.hset(f"s:progress:{claim.job_id}", "state", "running")
    await ground.end(claim, R, state="done")
    assert await ground.redis.hget(f"s:progress:{claim.job_id}", "state") == b"done"


@about("finish")
async def a_job_that_ended_badly_before_it_ran_says_so(ground: Ground) -> None:
    for state in ("failed", "cancelled"):
        claim = await claimed(ground)
        await ground.end(claim, R, state=state, error="why")
        told = await ground.redis.hmget(f"s:progress:{claim.job_id}", "state", "error")
        assert told == [state.encode(), b"why"]
        assert 23 * HOUR_MS < await ground.redis.pttl(f"s:progress:{claim.job_id}") <= 24 * HOUR_MS


@about("finish")
async def ends_of_several_jobs_are_told_one_by_one(ground: Ground) -> None:
    for _ in range(2):
        await ground.put(Work())
    claims = await ground.take(W)
    await ground.redis.delete(f"arq:in-progress:{claims[0].job_id}")
    ends = [Finish(W, claim.job_id, Ending.REMOVE) for claim in claims]
    assert await ground.one.finish(ends) == [False, True]


@about("finish")
async def no_total_and_no_mark_of_another_kind_keeps_a_job_from_ending(ground: Ground) -> None:
    claim = await claimed(ground)
    await ground.redis.hset(ground.name(R, ":totals"), "done", "nan")
    for key in (f"s:{BEGUN}", f"s:{HELD}", "s:suspect:one", f"s:progress:{claim.job_id}"):
        await ground.redis.delete(key)
        await ground.redis.rpush(key, "x")
    assert await ground.end(claim, R, totals=("done",), state="done")
    assert await ground.redis.hget(ground.name(R, ":totals"), "done") == b"1"
    assert await ground.end(await claimed(ground), R, totals=("done",))
    assert await ground.redis.hget(ground.name(R, ":totals"), "done") == b"2"
    claim = await claimed(ground)
    await ground.redis.set(ground.name(R, ":totals"), "of another type")
    assert await ground.end(claim, R, totals=("done",))


@about("depth")
async def every_lane_is_counted_at_one_moment(ground: Ground) -> None:
    assert all(vars(found)["ready"] == 0 for found in (await depth(ground.queue)).values())
    for _ in range(3):
        await ground.put(Work())
    await ground.put(Work(), delay=HOUR)
    running, parked, _ = await ground.take(W, 3)
    await ground.end(parked, W, Ending.PARK, totals=("parked",))
    await ground.put(Work())
    await ground.redis.zadd(ground.name(W), {"old": await ground.now_ms() - HOUR_MS})
    await ground.queue.pause(R)
    await ground.queue.set_concurrency(W, 7)
    found = (await depth(ground.queue))[W]
    assert (found.ready, found.deferred, found.running, found.parked) == (2, 1, 2, 1)
    assert 3590 < found.oldest_ready_age_s < 3700
    assert (found.paused, found.slots, found.totals["parked"]) == (False, 7, 1)
    other = (await depth(ground.queue))[R]
    assert (other.paused, other.slots, other.ready, other.oldest_ready_age_s) == (True, None, 0, 0)
    assert await ground.end(running, W)


@about("depth")
async def a_deferred_job_is_not_the_oldest_ready_one(ground: Ground) -> None:
    await ground.put(Work(), delay=HOUR)
    found = (await depth(ground.queue))[Lane.WARM]
    assert (found.ready, found.deferred, found.oldest_ready_age_s) == (0, 1, 0)
