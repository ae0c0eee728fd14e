"""Scenarios of claim.lua."""

from __future__ import annotations

from datetime import timedelta

from stoker.queue import wire
from stoker.worker.engine.claims import MARK_MS
from tests.scripts.enqueueing import BEGUN, FLAG, HELD, HOUR, KEYED, R, W
from tests.scripts.ground import HOUR_MS, Ground, about
from tests.support.engine_stage import Keyed, Work

FAR_MS = 3 * 365 * 24 * HOUR_MS
SUSPECT = 2


@about("claim")
async def a_claim_takes_what_is_due_and_marks_it(ground: Ground) -> None:
    job_id = await ground.put(Work())
    await ground.put(Work(), delay=HOUR)
    (claim,) = await ground.take(W)
    assert (claim.job_id, claim.failed_runs, claim.rescues, claim.aborted) == (job_id, 0, 0, False)
    assert claim.payload == await ground.redis.get(f"arq:job:{job_id}")
    assert await ground.redis.get(f"arq:in-progress:{job_id}") == b"one"
    assert 0 < await ground.redis.pttl(f"arq:in-progress:{job_id}") <= MARK_MS
    now_ms = await ground.now_ms()
    assert 0 < (await ground.score(W, job_id, ":running") or 0) - now_ms <= 6000
    assert (await ground.score(W, job_id) or 0) - now_ms > FAR_MS, "a stock client sees it in the queue"
    assert await ground.ids(W, by=ground.two) == []


@about("claim")
async def counts_of_failures_and_rescues_come_with_the_claim(ground: Ground) -> None:
    job_id = await ground.put(Work())
    await ground.redis.set(f"arq:retry:{job_id}", 2)
    await ground.redis.set(f"s:rescues:{job_id}", 1)
    (claim,) = await ground.take(W)
    assert (claim.failed_runs, claim.rescues) == (2, 1)


@about("claim")
async def counts_that_are_none_are_zero(ground: Ground) -> None:
    for strange in ("nan", "-7", "abc"):
        job_id = await ground.put(Work())
        await ground.redis.set(f"arq:retry:{job_id}", strange)
        await ground.redis.set(f"s:rescues:{job_id}", strange)
        (claim,) = await ground.take(W)
        assert (claim.failed_runs, claim.rescues) == (0, 0), strange


@about("claim")
async def a_paused_lane_gives_nothing(ground: Ground) -> None:
    await ground.queue.pause(W)
    await ground.put(Work())
    assert await ground.ids(W) == []


@about("claim")
async def as_many_are_taken_as_there_are_slots_and_the_rest_is_rung_for(ground: Ground) -> None:
    ids = [await ground.put(Work()) for _ in range(3)]
    await ground.rung(W)
    assert await ground.ids(W, 2) == ids[:2]
    assert await ground.rung(W) == 1
    await ground.redis.rpush(ground.name(W, ":bell"), "1")
    later = [await ground.put(Work()) for _ in range(2)]
    assert await ground.ids(W, 1) == ids[2:]
    assert await ground.rung(W) == 1, "one token is enough"
    assert await ground.ids(W, 0) == []
    await ground.rung(W)
    assert await ground.ids(W, 2) == later
    assert await ground.rung(W) == 0, "nothing is left"


@about("claim")
async def a_claim_tells_when_the_next_job_is_due(ground: Ground) -> None:
    assert (await ground.one.claim(W, 1)).next_due_s is None
    await ground.put(Work(), delay=HOUR)
    await ground.rung(W)
    found = await ground.one.claim(W, 1)
    assert found.next_due_s is not None
    assert 3590 < found.next_due_s <= 3600
    assert await ground.rung(W) == 0


@about("claim")
async def the_flag_goes_when_its_job_begins(ground: Ground) -> None:
    job_id = await ground.put(KEYED)
    assert await ground.ids(R) == [job_id]
    assert await ground.get(FLAG) is None
    assert await ground.get(BEGUN) == job_id
    assert await ground.redis.pttl(f"s:{BEGUN}") > 0


@about("claim")
async def the_flag_of_another_job_stays(ground: Ground) -> None:
    job_id = await ground.put(KEYED)
    await ground.redis.set(f"s:{FLAG}", "another")
    assert await ground.ids(R) == [job_id]
    assert await ground.get(FLAG) == "another"


@about("claim")
async def a_second_of_a_key_waits_until_the_first_has_ended(ground: Ground) -> None:
    first = await ground.put(KEYED)
    assert await ground.ids(R) == [first]
    second = await ground.put(KEYED)
    other = await ground.put(Keyed(name="other"))
    assert await ground.ids(R, by=ground.two) == [other]
    assert await ground.get(HELD) == second
    assert await ground.redis.pttl(f"s:{HELD}") > 0
    held_ms = (await ground.score(R, second) or 0) - await ground.now_ms()
    assert 0 < held_ms <= 6000


@about("claim")
async def a_begun_job_that_does_not_run_holds_nobody_back(ground: Ground) -> None:
    await ground.redis.set(f"s:{BEGUN}", "gone")
    job_id = await ground.put(KEYED)
    assert await ground.ids(R) == [job_id]


@about("claim")
async def jobs_that_may_run_together_do(ground: Ground) -> None:
    """A payload whose flag is not alone."""
    raw = wire.encode(KEYED, 1).replace(b'"alone":1', b'"alone":0')
    now_ms = await ground.now_ms()
    for job_id in ("first", "second"):
        await ground.redis.set(f"arq:job:{job_id}", raw)
        await ground.redis.zadd(ground.name(R), {job_id: now_ms})
        assert await ground.ids(R) == [job_id]


@about("claim")
async def suspects_of_a_process_run_one_at_a_time(ground: Ground) -> None:
    ids = [await ground.put(Work()) for _ in range(3)]
    for job_id in ids[:2]:
        await ground.redis.set(f"s:rescues:{job_id}", SUSPECT)
    assert await ground.ids(W) == [ids[0], ids[2]]
    assert await ground.get("suspect:one") == ids[0]
    assert await ground.redis.pttl("s:suspect:one") > 0
    assert 0 < (await ground.score(W, ids[1]) or 0) - await ground.now_ms() <= 500
    await ground.redis.zadd(ground.name(W), {ids[1]: 2})
    assert await ground.ids(W, by=ground.two) == [ids[1]]


@about("claim")
async def a_job_that_goes_into_quarantine_is_no_suspect(ground: Ground) -> None:
    ids = [await ground.put(Work()) for _ in range(2)]
    for job_id, rescues in zip(ids, (SUSPECT + 1, SUSPECT), strict=True):
        await ground.redis.set(f"s:rescues:{job_id}", rescues)
    assert await ground.ids(W) == ids
    assert await ground.get("suspect:one") == ids[1]


@about("claim")
async def a_running_job_is_not_claimed_again_and_goes_back_to_its_place(ground: Ground) -> None:
    job_id = await ground.put(Work())
    assert await ground.ids(W) == [job_id]
    await ground.redis.zadd(ground.name(W), {job_id: 2})
    assert await ground.ids(W, by=ground.two) == []
    assert (await ground.score(W, job_id) or 0) - await ground.now_ms() > FAR_MS


@about("claim")
async def a_rate_lets_so_many_begin_and_says_when_the_next_may(ground: Ground) -> None:
    ids = [await ground.put(Work()) for _ in range(3)]
    await ground.rung(W)
    found = await ground.one.claim(W, 3, rate_per_s=0.1)
    assert [claim.job_id for claim in found.claims] == ids[:1], "one share is kept, of ten seconds"
    assert found.next_due_s is not None
    assert 9 < found.next_due_s <= 10
    assert await ground.redis.pttl(ground.name(W, ":rate")) > 0
    assert await ground.rung(W) == 0, "who has slots asks again by itself"
    assert await ground.ids(W, 3, rate_per_s=0.1) == []
    assert await ground.ids(W, 1) == ids[1:2], "another worker has no limit"
    assert await ground.rung(W) == 1


@about("claim")
async def a_rate_of_an_idle_lane_writes_nothing(ground: Ground) -> None:
    assert await ground.ids(W, 3, rate_per_s=0.1) == []
    assert not await ground.redis.exists(ground.name(W, ":rate"))


@about("claim")
async def a_rate_that_fills_every_slot_rings_for_the_rest(ground: Ground) -> None:
    for _ in range(2):
        await ground.put(Work())
    await ground.rung(W)
    assert len(await ground.ids(W, 1, rate_per_s=0.1)) == 1
    assert await ground.rung(W) == 1, "this worker has no slot left to ask for"


@about("claim")
async def a_rate_keeps_no_more_than_a_tenth_of_a_second(ground: Ground) -> None:
    for _ in range(30):
        await ground.put(Work())
    await ground.redis.set(ground.name(W, ":rate"), 1)
    assert len(await ground.ids(W, 30, rate_per_s=100)) == 10


@about("claim")
async def a_rate_that_is_no_time_counts_as_unspent(ground: Ground) -> None:
    for strange in ("nan", "inf", "-inf", "abc", str(await ground.now_ms() + HOUR_MS)):
        await ground.put(Work())
        await ground.redis.set(ground.name(W, ":rate"), strange)
        assert len(await ground.ids(W, 1, rate_per_s=100)) == 1, strange


@about("claim")
async def a_deferred_job_behind_a_rate_is_due_when_it_is_due(ground: Ground) -> None:
    await ground.put(Work())
    await ground.put(Work(), delay=HOUR)
    found = await ground.one.claim(W, 3, rate_per_s=0.1)
    assert found.next_due_s is not None
    assert found.next_due_s > 3590


@about("claim")
async def parked_jobs_of_known_kinds_are_taken_and_others_go_to_the_end(ground: Ground) -> None:
    known = await ground.put(Work(), delay=HOUR)
    other = await ground.put(Keyed(name="x"), delay=HOUR)
    for job_id in (other, known):
        await ground.redis.zadd(ground.name(W, ":parked"), {job_id: 1})
    assert await ground.ids(W, parked_kinds=[Work.kind]) == [known]
    assert await ground.score(W, known, ":parked") is None
    assert (await ground.score(W, other, ":parked") or 0) > 1


@about("claim")
async def parked_bytes_that_nobody_can_read_are_taken_too(ground: Ground) -> None:
    for number, raw in enumerate((b"5", b"[]", b"no json", b'{"f":7}', b"null", None)):
        job_id = f"strange-{number}"
        if raw is not None:
            await ground.redis.set(f"arq:job:{job_id}", raw)
        await ground.redis.zadd(ground.name(W, ":parked"), {job_id: 1})
        assert await ground.ids(W, parked_kinds=[Work.kind]) == [job_id]


@about("claim")
async def no_more_parked_jobs_are_taken_than_there_are_slots(ground: Ground) -> None:
    for _ in range(3):
        job_id = await ground.put(Work(), delay=HOUR)
        await ground.redis.zadd(ground.name(W, ":parked"), {job_id: 1})
    assert len(await ground.ids(W, 2, parked_kinds=[Work.kind])) == 2


@about("claim")
async def what_must_wait_hides_nobody_behind_it(ground: Ground) -> None:
    ids = [await ground.put(Work()) for _ in range(4)]
    for job_id in ids[:3]:
        await ground.redis.set(f"s:rescues:{job_id}", SUSPECT)
    assert await ground.ids(W, 2) == [ids[0], ids[3]]


@about("claim")
async def an_aborted_job_says_so_and_is_parked_no_longer(ground: Ground) -> None:
    job_id = await ground.put(Work())
    await ground.redis.zadd(ground.name(W), {job_id: 1})
    await ground.redis.zadd(ground.name(W, ":parked"), {job_id: 1})
    await ground.redis.zadd(wire.ABORTS, {job_id: 1})
    other = await ground.put(Work())
    claims = await ground.take(W)
    assert [(claim.job_id, claim.aborted) for claim in claims] == [(job_id, True), (other, False)]
    assert await ground.score(W, job_id, ":parked") is None


@about("claim")
async def a_parked_job_that_is_made_due_stays_parked(ground: Ground) -> None:
    job_id = await ground.put(Work())
    await ground.redis.zadd(ground.name(W, ":parked"), {job_id: 1})
    assert await ground.ids(W) == [job_id]
    assert await ground.score(W, job_id, ":parked") is not None


@about("claim")
async def half_an_abort_waits_for_the_other_half(ground: Ground) -> None:
    job_id = await ground.put(Work())
    await ground.redis.zadd(ground.name(W), {job_id: 1})
    assert await ground.ids(W) == []
    assert 0 < (await ground.score(W, job_id) or 0) - await ground.now_ms() <= 100


@about("claim")
async def what_a_stock_worker_runs_waits_for_its_end(ground: Ground) -> None:
    job_id = await ground.put(Work())
    await ground.redis.set(f"arq:in-progress:{job_id}", "1")
    await ground.redis.zadd("arq:abort", {job_id: 1})
    assert await ground.ids(W) == [], "not even to abort it: its worker does that"
    assert 100 < (await ground.score(W, job_id) or 0) - await ground.now_ms() <= 500
    await ground.redis.set(f"arq:in-progress:{job_id}", "of a worker of ours, which is gone")
    await ground.redis.zadd(ground.name(W), {job_id: 2})
    assert await ground.ids(W) == [job_id]


@about("claim")
async def no_mark_of_another_type_stops_a_claim(ground: Ground) -> None:
    job_id = await ground.put(KEYED)
    for key in (f"s:{BEGUN}", f"arq:retry:{job_id}", f"s:rescues:{job_id}", ground.name(R, ":rate")):
        await ground.redis.rpush(key, "x")
    await ground.redis.delete(f"s:{FLAG}")
    await ground.redis.rpush(f"s:{FLAG}", "x")
    assert await ground.ids(R, rate_per_s=100) == [job_id]
    await ground.put(Work(), delay=timedelta(0))
