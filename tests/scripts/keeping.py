"""Scenarios of upkeep.lua."""

from __future__ import annotations

from stoker.jobs import Lane
from stoker.queue import wire
from stoker.worker.engine.claims import MARK_MS, Ending, Finish
from tests.scripts.ending import claimed
from tests.scripts.enqueueing import BEGUN, FLAG, HOUR, R, W
from tests.scripts.ground import HOUR_MS, Ground, about
from tests.support.engine_stage import Work

DAY_MS = 24 * HOUR_MS


@about("upkeep")
async def what_a_process_holds_is_renewed(ground: Ground) -> None:
    claim = await claimed(ground)
    await ground.expire(R, claim.job_id)
    await ground.redis.pexpire(f"arq:in-progress:{claim.job_id}", 1000)
    news = (await ground.upkeep({R: [claim.job_id]}))[R]
    assert (news.lost, news.rescued, news.cancel) == ([], {}, [])
    assert (await ground.score(R, claim.job_id, ":running") or 0) > await ground.now_ms()
    assert HOUR_MS < await ground.redis.pttl(f"arq:in-progress:{claim.job_id}") <= MARK_MS


@about("upkeep")
async def renewing_makes_no_claim(ground: Ground) -> None:
    claim = await claimed(ground)
    await ground.redis.zrem(ground.name(R, ":running"), claim.job_id)
    await ground.upkeep({R: [claim.job_id]})
    assert await ground.score(R, claim.job_id, ":running") is None


@about("upkeep")
async def what_another_has_or_will_have_is_lost(ground: Ground) -> None:
    claim = await claimed(ground)
    await ground.redis.set(f"arq:in-progress:{claim.job_id}", "two")
    assert (await ground.upkeep({R: [claim.job_id]}))[R].lost == [claim.job_id]
    await ground.redis.delete(f"arq:in-progress:{claim.job_id}", ground.name(R, ":running"))
    assert (await ground.upkeep({R: [claim.job_id]}))[R].lost == [claim.job_id], "it waits for another"
    await ground.redis.delete(ground.name(R))
    assert (await ground.upkeep({R: [claim.job_id]}))[R].lost == [], "nobody else has it"


@about("upkeep")
async def a_running_job_without_its_mark_is_not_lost(ground: Ground) -> None:
    claim = await claimed(ground)
    await ground.redis.delete(f"arq:in-progress:{claim.job_id}")
    assert (await ground.upkeep({R: [claim.job_id]}))[R].lost == []


@about("upkeep")
async def an_expired_claim_is_given_back_to_the_head_of_its_lane(ground: Ground) -> None:
    claim = await claimed(ground)
    await ground.redis.zadd(ground.name(R), {"backlog": 7})
    await ground.expire(R, claim.job_id)
    news = (await ground.upkeep(by=ground.two))[R]
    assert news.rescued == {claim.job_id: 1}
    assert await ground.rung(R) == 1
    assert await ground.score(R, claim.job_id) == 7
    assert await ground.score(R, claim.job_id, ":running") is None
    assert not await ground.redis.exists(f"arq:in-progress:{claim.job_id}")
    assert await ground.redis.hgetall(ground.name(R, ":totals")) == {b"rescued": b"1"}
    assert (await ground.get(FLAG), await ground.get(BEGUN)) == (claim.job_id, None)
    assert 0 < await ground.redis.pttl(f"s:{FLAG}") <= DAY_MS
    assert 0 < await ground.redis.pttl(f"s:rescues:{claim.job_id}") <= DAY_MS


@about("upkeep")
async def a_rescued_job_is_due_now_where_nobody_waits(ground: Ground) -> None:
    claim = await claimed(ground)
    await ground.put(Work(), delay=HOUR)
    await ground.expire(R, claim.job_id)
    await ground.upkeep(by=ground.two)
    (again,) = await ground.take(R, by=ground.two)
    assert (again.job_id, again.rescues) == (claim.job_id, 1)


@about("upkeep")
async def nothing_is_rescued_before_its_time_or_unless_asked(ground: Ground) -> None:
    claim = await claimed(ground)
    assert (await ground.upkeep(by=ground.two))[R].rescued == {}
    await ground.expire(R, claim.job_id)
    assert (await ground.upkeep(by=ground.two, rescue=False))[R].rescued == {}
    assert await ground.rung(R) == 0


@about("upkeep")
async def a_rescue_leaves_the_marks_of_others_alone_and_rings_once(ground: Ground) -> None:
    claim = await claimed(ground)
    await ground.redis.set(f"s:{FLAG}", "another")
    await ground.redis.set(f"s:{BEGUN}", "another")
    await ground.redis.rpush(ground.name(R, ":bell"), "1")
    await ground.expire(R, claim.job_id)
    await ground.upkeep(by=ground.two)
    assert (await ground.get(FLAG), await ground.get(BEGUN)) == ("another", "another")
    assert await ground.rung(R) == 1


@about("upkeep")
async def a_job_without_a_payload_or_a_key_is_rescued_too(ground: Ground) -> None:
    ids = [await ground.put(Work()) for _ in range(2)]
    await ground.take(W)
    await ground.redis.delete(f"arq:job:{ids[0]}")
    await ground.expire(W, *ids)
    assert set((await ground.upkeep(by=ground.two))[W].rescued) == set(ids)


@about("upkeep")
async def where_a_suspect_ran_it_alone_is_blamed(ground: Ground) -> None:
    ids = [await ground.put(Work()) for _ in range(2)]
    await ground.redis.set(f"s:rescues:{ids[0]}", 2)
    assert await ground.ids(W) == ids
    await ground.expire(W, *ids)
    assert (await ground.upkeep(by=ground.two))[W].rescued == {ids[0]: 3, ids[1]: 0}
    assert 0 < await ground.redis.pttl("s:suspect:one") <= 12_000, "not for ever"
    assert not await ground.redis.exists(f"s:rescues:{ids[1]}")


@about("upkeep")
async def the_mark_of_a_suspect_is_kept_for_its_neighbours(ground: Ground) -> None:
    ids = [await ground.put(Work()) for _ in range(2)]
    await ground.redis.set("s:suspect:one", ids[0], px=DAY_MS)
    await ground.take(W)
    await ground.expire(W, ids[1])
    assert (await ground.upkeep(by=ground.two))[W].rescued == {ids[1]: 0}
    assert await ground.redis.pttl("s:suspect:one") > HOUR_MS, "the suspect itself has not been rescued"


@about("upkeep")
async def a_claim_that_nobody_owns_blames_its_job(ground: Ground) -> None:
    job_id = await ground.put(Work())
    await ground.take(W)
    await ground.redis.delete(f"arq:in-progress:{job_id}")
    await ground.expire(W, job_id)
    assert (await ground.upkeep(by=ground.two))[W].rescued == {job_id: 1}


@about("upkeep")
async def a_process_that_was_only_late_takes_its_blame_back(ground: Ground) -> None:
    claim = await claimed(ground)
    await ground.redis.set(f"s:rescues:{claim.job_id}", 1)  # another has died of it
    await ground.redis.sadd(f"s:blamed:{claim.job_id}", "dead")
    await ground.expire(R, claim.job_id)
    assert (await ground.upkeep(by=ground.two))[R].rescued == {claim.job_id: 2}
    assert 0 < await ground.redis.pttl(f"s:blamed:{claim.job_id}") <= DAY_MS
    for _ in range(2):  # and only once
        assert (await ground.upkeep({R: [claim.job_id]}))[R].lost == [claim.job_id]
        assert await ground.get(f"rescues:{claim.job_id}") == "1"
    (again,) = await ground.take(R, by=ground.two)
    assert again.rescues == 1
    await ground.two.finish([Finish(R, claim.job_id, Ending.REMOVE)])
    assert not await ground.redis.exists(f"s:rescues:{claim.job_id}", f"s:blamed:{claim.job_id}")


@about("upkeep")
async def counts_of_rescues_that_are_none_begin_anew(ground: Ground) -> None:
    for strange, rescues in (("nan", 1), ("-5", 1), ("abc", 1), ("1e300", 1_000_000), ("1.5", 2)):
        job_id = await ground.put(Work())
        await ground.take(W)
        await ground.redis.set(f"s:rescues:{job_id}", strange)
        await ground.expire(W, job_id)
        assert (await ground.upkeep(by=ground.two))[W].rescued == {job_id: rescues}, strange
        await ground.redis.flushall()


@about("upkeep")
async def who_is_to_be_cancelled_is_told_running_or_rescued(ground: Ground) -> None:
    claim = await claimed(ground)
    for wish in ("cancelling", "abort"):
        if wish == "abort":
            await ground.redis.delete("s:cancelling")
            await ground.redis.zadd(wire.ABORTS, {claim.job_id: 1})
        else:
            await ground.redis.sadd("s:cancelling", claim.job_id)
        news = (await ground.upkeep({R: [claim.job_id]}))[R]
        assert news.cancel == [claim.job_id], wish
        await ground.expire(R, claim.job_id)
        news = (await ground.upkeep(by=ground.two))[R]
        assert (news.cancel, list(news.rescued)) == ([claim.job_id], [claim.job_id]), wish
        (claim,) = await ground.take(R)


@about("upkeep")
async def wishes_about_others_cancel_nobody(ground: Ground) -> None:
    claim = await claimed(ground)
    other = await ground.put(Work(), delay=HOUR)
    await ground.redis.sadd("s:cancelling", other)
    await ground.redis.zadd(wire.ABORTS, {other: 1})
    assert (await ground.upkeep({R: [claim.job_id]}))[R].cancel == []


@about("upkeep")
async def aborts_of_jobs_that_are_gone_are_forgotten(ground: Ground) -> None:
    job_id = await ground.put(Work(), delay=HOUR)
    await ground.redis.zadd(wire.ABORTS, {"gone": 1, job_id: 2})
    await ground.upkeep()
    assert await ground.redis.zrange(wire.ABORTS, 0, -1) == [job_id.encode()]


@about("upkeep")
async def it_tells_what_is_due_parked_and_set_for_each_lane(ground: Ground) -> None:
    await ground.put(Work(), delay=HOUR)
    await ground.redis.zadd(ground.name(W, ":parked"), {"x": 1, "y": 1})
    await ground.queue.set_concurrency(W, 9)
    news = await ground.upkeep()
    found = news[W]
    assert found.next_due_s is not None
    assert 3590 < found.next_due_s <= 3600
    assert (found.parked, found.slots) == (2, 9)
    other = news[R]
    assert (other.next_due_s, other.parked, other.slots) == (None, 0, None)


@about("upkeep")
async def when_the_clock_is_set_back_all_that_is_written_moves_back(ground: Ground) -> None:
    claim = await claimed(ground)
    waiting = await ground.put(Work())
    await ground.redis.set(ground.name(W, ":rate"), 1)
    now_ms = await ground.now_ms()
    await ground.redis.zadd(ground.name(W), {waiting: now_ms + HOUR_MS})
    await ground.redis.zadd(ground.name(R, ":running"), {claim.job_id: now_ms + HOUR_MS + 6000})
    await ground.redis.set("s:clock", now_ms + HOUR_MS)
    await ground.upkeep(by=ground.two)
    assert (await ground.score(W, waiting) or 0) <= await ground.now_ms()
    assert (await ground.score(R, claim.job_id, ":running") or 0) <= now_ms + 7000
    assert not await ground.redis.exists(ground.name(W, ":rate"))
    assert abs(int(await ground.get("clock") or 0) - now_ms) < 60_000
    assert await ground.redis.pttl("s:clock") > 0


@about("upkeep")
async def a_time_that_no_clock_shows_moves_nothing(ground: Ground) -> None:
    for strange in ("nan", "inf", "1e300", "abc", "1", str(await ground.now_ms() + 500)):
        waiting = await ground.put(Work(), delay=HOUR)
        before = await ground.score(W, waiting)
        await ground.redis.set("s:clock", strange)
        await ground.upkeep()
        assert await ground.score(W, waiting) == before, strange
        assert abs(int(await ground.get("clock") or 0) - await ground.now_ms()) < 60_000
        await ground.redis.flushall()


@about("upkeep")
async def no_mark_of_another_type_ends_a_round(ground: Ground) -> None:
    claim = await claimed(ground)
    expired = await ground.put(Work())
    await ground.take(W)
    await ground.expire(W, expired)
    await ground.redis.hset(ground.name(W, ":totals"), "rescued", "nan")
    await ground.redis.set(f"s:blamed:{expired}", "x")
    for key in ("s:clock", f"s:rescues:{expired}", f"s:{BEGUN}", "s:suspect:one"):
        await ground.redis.delete(key)
        await ground.redis.rpush(key, "x")
    news = await ground.upkeep({R: [claim.job_id]})
    assert news[Lane.WARM].rescued == {expired: 1}
    assert await ground.redis.hget(ground.name(W, ":totals"), "rescued") == b"1"
    await ground.take(W)
    await ground.expire(W, expired)
    assert (await ground.upkeep({R: [claim.job_id]}))[Lane.WARM].rescued == {expired: 2}
    assert await ground.redis.hget(ground.name(W, ":totals"), "rescued") == b"2"
    assert await ground.end(claim, R, Ending.REMOVE)
