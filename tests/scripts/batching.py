"""Scenarios of batches, in every script of the queue."""

from __future__ import annotations

from datetime import timedelta

from stoker.errors import BadRequest
from stoker.jobs import Job
from stoker.queue import wire
from stoker.queue.batches import BATCH, Batch, batch_of, enqueue_batch
from stoker.worker.engine.claims import Ending
from tests.scripts.enqueueing import HOUR, W
from tests.scripts.ground import HOUR_MS, Ground, about
from tests.support.engine_stage import Turned, Work

THEN = Turned(name="then")
THEN_ID = "b-x-then"
PLACE, ENDED = "s:batch:x", "s:batch:x:ended"


async def put(ground: Ground, count: int, then: Job | None = THEN, **options: timedelta) -> Batch:
    """Enqueue a batch `x`."""
    jobs = [Work(name=str(number)) for number in range(count)]
    return await enqueue_batch(ground.queue, jobs, then, "x", options.get("delay", timedelta(0)))


async def now_of(ground: Ground) -> Batch:
    """The batch as it is."""
    found = await batch_of(ground.queue, "x")
    assert found is not None
    return found


async def call(ground: Ground, first: int, total: int = 4, count: int = 2) -> int:
    """Write a part of batch `x`."""
    lane, raw = ground.name(W), wire.encode(Work(), 1)
    follows = (lane, *wire.around_its_time(THEN, None))
    members = (lane, raw) * count
    found: int = await ground.queue.connection.call(BATCH, HOUR_MS, "x", total, first, 0, *follows, *members)
    return found


@about("batch")
async def members_are_jobs_of_their_lane_and_remembered(ground: Ground) -> None:
    batch = await put(ground, 3)
    now_ms = await ground.now_ms()
    assert (batch.total, batch.added, batch.ended, batch.then_id) == (3, 3, 0, THEN_ID)
    assert abs(batch.created_at.timestamp() * 1000 - now_ms) < HOUR_MS
    assert await ground.rung(W) == 1
    for key in (PLACE, ENDED, "s:batches", "s:clock"):
        assert await ground.redis.pttl(key) > 0, key
    life_ms = await ground.redis.pttl(f"arq:job:{batch.job_ids[0]}")
    assert await ground.redis.pttl(PLACE) > 1.5 * life_ms
    assert await ground.redis.pttl(ENDED) > 1.5 * life_ms
    assert abs(await ground.redis.zscore("s:batches", "x") - now_ms) < HOUR_MS
    assert await ground.ids(W) == batch.job_ids
    assert (await ground.redis.exists(ENDED), await ground.redis.bitcount(ENDED)) == (1, 0)


@about("batch")
async def a_part_is_written_once_and_in_its_order(ground: Ground) -> None:
    assert await call(ground, 2) == -2
    assert not await ground.redis.exists(PLACE, ground.name(W))
    assert await call(ground, 0) == 2
    assert await call(ground, 0) == 2
    assert await call(ground, 3, count=1) == 2, "a part before it is missing"
    assert await call(ground, 1) == 3
    assert await ground.redis.zcard(ground.name(W)) == 3
    assert await call(ground, 2, total=5) == -1
    assert await call(ground, 2) == 4
    assert await ground.ids(W) == [f"b-x-00000{number}" for number in range(4)]
    await ground.redis.hset(PLACE, "ended_ms", 1)
    assert await call(ground, 0) == 4


@about("batch")
async def a_batch_of_nothing_ends_at_once(ground: Ground) -> None:
    assert (await put(ground, 0)).ended_at is not None
    assert await ground.ids(W) == [THEN_ID]
    assert not await ground.redis.exists("s:batches", ENDED)


@about("batch")
async def a_delayed_batch_lives_longer(ground: Ground) -> None:
    batch = await put(ground, 1, delay=HOUR * 24 * 40)
    assert await ground.ids(W) == []
    for key in (PLACE, ENDED, "s:batches"):
        assert await ground.redis.pttl(key) > await ground.redis.pttl(f"arq:job:{batch.job_ids[0]}")


@about("batch")
async def what_is_refused_is_told(ground: Ground) -> None:
    await put(ground, 1)
    try:
        await put(ground, 2)
    except BadRequest:
        return
    raise AssertionError("a batch of another size")


@about("finish")
async def each_end_is_counted_as_what_it_is(ground: Ground) -> None:
    batch = await put(ground, 8)
    claims = await ground.take(W)
    assert await ground.end(claims[0], W, totals=("done",))
    assert await ground.end(claims[1], W, totals=("failed", "dead"))
    assert await ground.end(claims[2], W, totals=("failed", "dropped"))
    assert await ground.end(claims[3], W, totals=("cancelled",))
    await ground.redis.sadd("s:cancelling", claims[4].job_id)
    assert await ground.end(claims[4], W, Ending.RETRY, totals=("failed", "retried"))
    for claim, ending in zip(claims[5:], (Ending.AGAIN, Ending.RETRY, Ending.PARK), strict=True):
        assert await ground.end(claim, W, ending, totals=("failed",))
    found = await now_of(ground)
    assert (found.done, found.failed, found.cancelled, found.unknown) == (1, 2, 2, 0)
    assert found.ended_at is None
    assert await ground.redis.bitcount(ENDED) == 5
    assert [await ground.redis.getbit(ENDED, number) for number in range(8)] == [1, 1, 1, 1, 1, 0, 0, 0]
    assert len(batch.job_ids) == 8
    assert not await ground.redis.exists(f"arq:job:{THEN_ID}")


@about("finish", "cancel", "upkeep")
async def the_last_end_enqueues_what_follows_once(ground: Ground) -> None:
    for how in ("finish", "cancel", "upkeep"):
        other = await enqueue_batch(ground.queue, [Work()], None, "y", HOUR)
        await ground.redis.zadd("s:batches_ended", {"old": 1})
        batch = await put(ground, 2)
        first, second = await ground.take(W)
        assert await ground.end(first, W, totals=("done",))
        assert (await now_of(ground)).ended_at is None
        await ground.redis.delete("s:clock")
        await ground.rung(W)
        if how == "finish":
            assert await ground.end(second, W, totals=("done",))
        else:
            await ground.end(second, W, Ending.AGAIN, delay_s=3600)
            if how == "cancel":
                await ground.queue.cancel(second.job_id)
            else:
                await ground.redis.zrem(ground.name(W), second.job_id)
                await ground.redis.delete(f"arq:job:{second.job_id}")
                await ground.upkeep()
        found = await now_of(ground)
        assert (found.ended, found.done, found.ended_at is not None) == (2, 2 if how == "finish" else 1, True)
        assert abs((found.ended_at or found.created_at).timestamp() * 1000 - await ground.now_ms()) < HOUR_MS
        assert await ground.rung(W) == 1, how
        assert await ground.redis.exists("s:clock"), how
        (claim,) = await ground.take(W)
        assert claim.job_id == THEN_ID
        stored = wire.decode(claim.payload or b"")
        assert (stored.kind, stored.payload, stored.fair) == (THEN.kind, THEN.model_dump(), "a")
        assert abs(stored.enqueued_ms - await ground.now_ms()) < HOUR_MS
        assert await ground.redis.zrange("s:batches", 0, -1) == [b"y"]
        assert await ground.redis.zrange("s:batches_ended", 0, -1) == [b"x"]
        kept = await ground.redis.hkeys(PLACE)
        assert not {b"then_before", b"then_after"} & set(kept)
        assert not await ground.redis.exists(ENDED)
        life_ms = await ground.redis.pttl(f"arq:job:{THEN_ID}")
        for key in (PLACE, "s:batches_ended"):
            assert 0 < await ground.redis.pttl(key) <= life_ms
        # A late caller that reports the end again changes nothing.
        for job_id in batch.job_ids:
            await ground.redis.set(f"arq:job:{job_id}", wire.encode(Work(), 1))
            await ground.redis.zadd(ground.name(W), {job_id: 2})
            await ground.queue.cancel(job_id)
        assert (await now_of(ground)).ended == 2
        assert await ground.redis.zcard(ground.name(W)) == 2, (
            "what follows runs, and the one of the other batch"
        )
        assert not await ground.redis.exists(ENDED)
        assert (other.total, other.then_id) == (1, None)
        await ground.redis.flushall()


@about("finish", "cancel", "upkeep")
async def a_batch_without_a_follower_enqueues_nothing(ground: Ground) -> None:
    for how in ("finish", "cancel", "upkeep"):
        batch = await put(ground, 1, None)
        if how == "finish":
            (claim,) = await ground.take(W)
            await ground.end(claim, W, totals=("done",))
        elif how == "cancel":
            await ground.queue.cancel(batch.job_ids[0])
        else:
            await ground.redis.delete(f"arq:job:{batch.job_ids[0]}", ground.name(W))
            await ground.upkeep()
        assert (await now_of(ground)).ended_at is not None
        jobs = [key async for key in ground.redis.scan_iter("arq:job:*")]
        assert jobs == []
        await ground.redis.flushall()


@about("finish", "cancel", "upkeep")
async def an_end_is_counted_once(ground: Ground) -> None:
    batch = await put(ground, 3)
    for _ in range(2):
        await ground.queue.cancel(batch.job_ids[0])
        await ground.redis.set(f"arq:job:{batch.job_ids[0]}", wire.encode(Work(), 1))
        await ground.redis.zadd(ground.name(W), {batch.job_ids[0]: 2})
    (claim, *_) = await ground.take(W, 1)
    assert claim.job_id == batch.job_ids[0]
    await ground.end(claim, W, totals=("done",))
    found = await now_of(ground)
    assert (found.cancelled, found.ended, found.ended_at) == (1, 1, None)


@about("finish", "cancel")
async def who_is_no_member_is_not_counted(ground: Ground) -> None:
    await put(ground, 2)
    for job_id in ("b-x-000002", "b-x-99999", "b-x-", "b-x-then", "b-x", "a-b-x-0", "b-z-0", "b-x-1x"):
        for how in ("finish", "cancel"):
            await ground.redis.set(f"arq:job:{job_id}", wire.encode(Work(), 1))
            await ground.redis.zadd(ground.name(W), {job_id: 2})
            if how == "cancel":
                await ground.queue.cancel(job_id)
            else:
                (claim,) = await ground.take(W, 1)
                assert await ground.end(claim, W, totals=("done",))
            assert (await now_of(ground)).ended == 0, job_id
            assert await ground.redis.bitcount(ENDED) == 0
            assert not await ground.redis.exists("s:batch:z", "s:batch:z:ended", "s:batch:")


@about("finish", "cancel", "upkeep")
async def no_batch_of_another_type_keeps_a_job_from_ending(ground: Ground) -> None:
    for strange in (PLACE, ENDED, "s:batches", "s:batches_ended"):
        for field in ("", "done", "total", "added"):
            batch = await put(ground, 2)
            if field and strange == PLACE:
                await ground.redis.hset(PLACE, field, "nan")
            else:
                await ground.redis.delete(strange)
                await ground.redis.set(strange, "x") if strange != ENDED else await ground.redis.rpush(
                    ENDED, "x"
                )
            (claim, *_) = await ground.take(W, 1)
            assert await ground.end(claim, W, totals=("done",))
            await ground.upkeep()
            await ground.queue.cancel(batch.job_ids[1])
            assert not await ground.redis.exists(*(f"arq:job:{job_id}" for job_id in batch.job_ids))
            await ground.redis.flushall()


@about("upkeep")
async def a_member_that_waits_or_runs_has_not_ended(ground: Ground) -> None:
    batch = await put(ground, 3)
    (claim,) = await ground.take(W, 1)
    for _ in range(2):
        await ground.upkeep()
        assert (await now_of(ground)).ended == 0
    await ground.end(claim, W, totals=("done",))
    await ground.redis.delete(f"arq:job:{batch.job_ids[1]}")
    await ground.upkeep()
    found = await now_of(ground)
    assert (found.done, found.unknown, found.ended_at) == (1, 1, None)


@about("upkeep")
async def members_that_are_to_come_have_not_ended(ground: Ground) -> None:
    await call(ground, 0)
    await ground.redis.delete("arq:job:b-x-000000", "arq:job:b-x-000001")
    for key in (PLACE, ENDED, "s:batches"):
        await ground.redis.pexpire(key, HOUR_MS)
    await ground.upkeep()
    found = await now_of(ground)
    assert (found.unknown, found.ended_at) == (2, None)
    for key in (PLACE, ENDED, "s:batches"):
        assert 0 < await ground.redis.pttl(key) <= HOUR_MS, "one that is never enqueued to its end expires"


@about("upkeep")
async def a_batch_lives_as_long_as_somebody_sees_to_it(ground: Ground) -> None:
    await put(ground, 1)
    keys = (PLACE, ENDED, "s:batches")
    for key in keys:
        await ground.redis.pexpire(key, 60_000)
    await ground.redis.zadd("s:batches", {"x": 7})
    await ground.upkeep()
    for key in keys:
        assert await ground.redis.pttl(key) > HOUR_MS
    assert await ground.redis.zscore("s:batches", "x") > 7


@about("upkeep")
async def batches_are_seen_in_turn_and_what_is_gone_is_forgotten(ground: Ground) -> None:
    await ground.put(Work(), delay=HOUR)
    await ground.redis.zadd("s:batches", {f"y{number:02}": number for number in range(15)})
    await ground.upkeep()
    assert await ground.redis.zcard("s:batches") == 5
    await ground.upkeep()
    assert await ground.redis.zcard("s:batches") == 0


@about("upkeep")
async def many_that_are_gone_are_found_in_several_rounds(ground: Ground) -> None:
    batch = await put(ground, 150, None)
    await ground.redis.delete(*(f"arq:job:{job_id}" for job_id in batch.job_ids))
    await ground.upkeep()
    assert (await now_of(ground)).unknown == 100
    await ground.upkeep()
    assert (await now_of(ground)).ended_at is not None
