"""Scenarios of enqueue.lua, begin.lua and cancel.lua."""

from __future__ import annotations

from datetime import timedelta

from stoker.jobs import Job, Lane
from stoker.queue import wire
from stoker.queue.answers import Answer, CancelAnswer
from stoker.queue.packing import Request, request_id
from stoker.worker.engine.claims import Ending
from tests.scripts.ground import HOUR_MS, Ground, about
from tests.support.engine_stage import Elsewhere, Keyed, Work

HOUR = timedelta(hours=1)
R, W = Lane.REFRESH, Lane.WARM
KEYED = Keyed(name="k")
FLAG = f"waiting:{wire.digest(KEYED)}"
HELD = f"held:{wire.digest(KEYED)}"
BEGUN = f"begun:{wire.digest(KEYED)}"


@about("enqueue")
async def jobs_without_a_key_all_wait(ground: Ground) -> None:
    ids = [await ground.put(Work()) for _ in range(3)]
    assert await ground.ids(W) == ids
    assert await ground.rung(W) == 1, "one token is enough"
    assert not await ground.redis.exists("s:waiting:")


@about("enqueue")
async def jobs_of_a_key_coalesce_until_one_begins(ground: Ground) -> None:
    first = await ground.queue.enqueue(KEYED)
    again = await ground.queue.enqueue(KEYED)
    assert (again.job_id, again.answer) == (first.job_id, Answer.COALESCED)
    assert await ground.ids(R) == [first.job_id]
    third = await ground.queue.enqueue(KEYED)
    assert third.job_id != first.job_id
    assert third.answer is Answer.WILL_RERUN
    assert first.answer is Answer.ENQUEUED


@about("enqueue")
async def nothing_coalesces_into_a_job_that_a_stock_worker_runs(ground: Ground) -> None:
    runs = await ground.put(KEYED)
    await ground.redis.set(f"arq:in-progress:{runs}", "1")
    new = await ground.queue.enqueue(KEYED)
    assert new.job_id != runs
    assert await ground.get(FLAG) == new.job_id


@about("enqueue")
async def a_job_that_was_requested_in_a_transaction_is_written_once(ground: Ground) -> None:
    def request(job: Job) -> Request:
        payload = wire.encode_parts(job.kind, job.model_dump(mode="json"), wire.digest(job), alone=False)
        return Request(request_id(), str(job.lane), payload, wire.digest(job), None, None)

    async def queued() -> list[str]:
        found = [await ground.redis.zrange(ground.name(lane), 0, -1) for lane in (W, R)]
        return [one.decode() for ids in found for one in ids]

    plain, keyed = request(Work()), request(KEYED)
    await ground.queue.deliver([plain, keyed])
    assert await queued() == [plain.job_id, keyed.job_id]
    await ground.queue.cancel(plain.job_id)
    await ground.queue.cancel(keyed.job_id)
    await ground.queue.deliver([plain, keyed])
    assert await queued() == []
    waits = await ground.queue.enqueue(KEYED, delay=HOUR)
    before = await ground.score(R, waits.job_id)
    await ground.queue.deliver([keyed])
    assert await queued() == [waits.job_id]
    assert await ground.score(R, waits.job_id) == before
    assert await ground.redis.pttl(f"s:requested:{plain.job_id}") > 23 * HOUR_MS


@about("enqueue")
async def a_flag_outlives_no_payload_no_place_in_the_queue_and_no_start(ground: Ground) -> None:
    for spoil in ("payload", "place", "start"):
        first = await ground.put(KEYED)
        if spoil == "payload":
            await ground.redis.delete(f"arq:job:{first}")
        elif spoil == "place":
            await ground.redis.zrem(ground.name(R), first)
        else:
            await ground.redis.zadd(ground.name(R, ":running"), {first: await ground.now_ms() + HOUR_MS})
        assert (await ground.queue.enqueue(KEYED)).answer is not Answer.COALESCED, spoil
        await ground.redis.flushall()


@about("enqueue")
async def a_begun_job_that_is_not_running_is_rerun_for_nobody(ground: Ground) -> None:
    await ground.redis.set(f"s:{BEGUN}", "gone")
    assert (await ground.queue.enqueue(KEYED)).answer is Answer.ENQUEUED


@about("enqueue")
async def a_deferred_job_rings_where_it_is_the_next_one_due(ground: Ground) -> None:
    await ground.put(Work(), delay=HOUR)
    assert await ground.rung(W) == 1
    await ground.put(Work(), delay=2 * HOUR)
    assert await ground.rung(W) == 0
    await ground.put(Work())
    assert await ground.rung(W) == 1
    await ground.put(Work())
    assert await ground.rung(W) == 1, "it is due, though not the first"
    await ground.put(Elsewhere())
    assert await ground.rung(W) == 0


@about("enqueue")
async def a_request_brings_a_deferred_job_forward_and_never_back(ground: Ground) -> None:
    first = await ground.put(KEYED, delay=HOUR)
    await ground.rung(R)
    soon = await ground.score(R, first)
    await ground.put(KEYED, delay=2 * HOUR)
    assert await ground.score(R, first) == soon
    assert await ground.rung(R) == 0
    await ground.put(KEYED)
    assert await ground.rung(R) == 1
    assert await ground.ids(R) == [first]


@about("enqueue")
async def what_backs_off_is_parked_or_held_is_not_brought_forward(ground: Ground) -> None:
    first = await ground.put(KEYED, delay=HOUR)
    for key in ("retry", "parked", "held"):
        if key == "retry":
            await ground.redis.set(f"arq:retry:{first}", 1)
        elif key == "parked":
            await ground.redis.zadd(ground.name(R, ":parked"), {first: 1})
        else:
            await ground.redis.set(f"s:{HELD}", first)
        assert await ground.put(KEYED) == first
        assert await ground.ids(R) == [], key
        await ground.redis.delete(f"arq:retry:{first}", ground.name(R, ":parked"), f"s:{HELD}")


@about("enqueue")
async def what_is_written_is_written_with_a_life_and_its_time_is_noted(ground: Ground) -> None:
    job_id = await ground.put(KEYED, delay=HOUR)
    assert await ground.redis.pttl(f"arq:job:{job_id}") > HOUR_MS
    assert await ground.redis.pttl(f"s:{FLAG}") > HOUR_MS
    assert abs(int(await ground.get("clock") or 0) - await ground.now_ms()) < HOUR_MS
    assert await ground.redis.pttl("s:clock") > 0


@about("enqueue")
async def a_time_ahead_of_the_clock_is_left_for_upkeep_and_a_coalesced_job_writes_none(
    ground: Ground,
) -> None:
    ahead = str(await ground.now_ms() + HOUR_MS)
    await ground.redis.set("s:clock", ahead)
    await ground.put(KEYED)
    assert await ground.get("clock") == ahead
    await ground.redis.delete("s:clock")
    await ground.put(KEYED)
    assert await ground.get("clock") is None


@about("begin")
async def beginning_clears_a_jobs_own_flag_alone(ground: Ground) -> None:
    job_id = await ground.put(KEYED)
    await ground.queue.begin("another", KEYED)
    assert await ground.get(FLAG) == job_id
    await ground.queue.begin(job_id, KEYED)
    assert await ground.get(FLAG) is None


@about("cancel")
async def a_waiting_job_goes_with_all_that_is_kept_of_it(ground: Ground) -> None:
    job_id = await ground.put(KEYED)
    kept = (f"arq:retry:{job_id}", f"s:rescues:{job_id}", f"s:{HELD}")
    for key in kept:
        await ground.redis.set(key, job_id)
    await ground.redis.zadd(ground.name(R, ":parked"), {job_id: 1})
    await ground.redis.zadd(wire.ABORTS, {job_id: 1})
    await ground.redis.sadd("s:cancelling", job_id)
    await ground.redis.hset(f"s:progress:{job_id}", "state", "queued")
    assert await ground.queue.cancel(job_id) is CancelAnswer.CANCELLED
    assert await ground.redis.hget(f"s:progress:{job_id}", "state") == b"cancelled"
    assert await ground.redis.hgetall(ground.name(R, ":totals")) == {b"cancelled": b"1"}
    left = {key.decode() async for key in ground.redis.scan_iter("*")}
    assert left == {f"s:progress:{job_id}", "s:refresh:totals", "s:refresh:bell", "s:clock"}


@about("cancel")
async def a_cancelled_job_leaves_the_flags_of_others_alone(ground: Ground) -> None:
    job_id = await ground.put(KEYED)
    await ground.redis.set(f"s:{FLAG}", "another")
    await ground.redis.set(f"s:{HELD}", "another")
    await ground.queue.cancel(job_id)
    assert (await ground.get(FLAG), await ground.get(HELD)) == ("another", "another")
    assert not await ground.redis.exists(f"s:progress:{job_id}"), "nobody follows it"
    plain = await ground.put(Work())
    assert await ground.queue.cancel(plain) is CancelAnswer.CANCELLED
    await ground.redis.delete(f"arq:job:{(unpaid := await ground.put(Work()))}")
    assert await ground.queue.cancel(unpaid) is CancelAnswer.CANCELLED, "its payload has expired"


@about("cancel")
async def a_running_job_is_wished_away_and_its_worker_is_told(ground: Ground) -> None:
    await ground.put(Work())
    (claim,) = await ground.take(W)
    assert await ground.queue.cancel(claim.job_id) is CancelAnswer.CANCELLING
    assert await ground.redis.sismember("s:cancelling", claim.job_id)
    assert await ground.redis.pttl("s:cancelling") > 0
    assert await ground.redis.lrange("s:bell:one", 0, -1) == [f"cancel:{claim.job_id}".encode()]
    assert await ground.redis.pttl("s:bell:one") > 0
    assert await ground.end(claim, W, Ending.AGAIN, state="") is not False
    assert await ground.score(W, claim.job_id) is None


@about("cancel")
async def a_running_job_without_a_mark_is_wished_away_too(ground: Ground) -> None:
    await ground.put(Work())
    (claim,) = await ground.take(W)
    await ground.redis.delete(f"arq:in-progress:{claim.job_id}")
    assert await ground.queue.cancel(claim.job_id) is CancelAnswer.CANCELLING


@about("cancel")
async def a_job_that_is_nowhere_is_not_found(ground: Ground) -> None:
    assert await ground.queue.cancel("nowhere") is CancelAnswer.NOT_FOUND


@about("cancel")
async def a_total_that_cannot_be_added_to_begins_anew(ground: Ground) -> None:
    await ground.redis.hset(ground.name(W, ":totals"), "cancelled", "nan")
    for count in (b"1", b"2"):
        await ground.queue.cancel(await ground.put(Work()))
        assert await ground.redis.hget(ground.name(W, ":totals"), "cancelled") == count
