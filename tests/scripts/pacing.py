"""Scenarios of kinds with a rate, in every script of the queue.

The rate is one job in a hundred seconds. Time is moved by editing the record of the rate.
"""

from __future__ import annotations

from typing import Any

from stoker.queue import wire
from stoker.queue.answers import CancelAnswer
from stoker.worker.engine.claims import Claim, Claims
from tests.scripts.enqueueing import HOUR, W
from tests.scripts.fairness import is_behind
from tests.scripts.ground import HOUR_MS, Ground, about
from tests.support.engine_stage import Paced, Turned, Work

MARK = wire.rate_mark(Paced)
RECORD = f":fair_rate:{MARK}"
SHARE_MS = 100_000
RATES = {MARK: Paced.rate_per_s}


async def take(ground: Ground, slots: int = 10, by: Claims | None = None, **options: Any) -> list[Claim]:  # noqa: ANN401
    """Claim what is due and the rate allows."""
    return await ground.take(W, slots, by, kind_rates=RATES, **options)


async def ids(ground: Ground, slots: int = 10, **options: Any) -> list[str]:  # noqa: ANN401
    """The ids of what is claimed."""
    return [claim.job_id for claim in await take(ground, slots, **options)]


async def moment(ground: Ground) -> float:
    """From when the rate allows the next one, in milliseconds from now."""
    return float(await ground.redis.get(ground.name(W, RECORD))) - await ground.now_ms()


async def pass_time(ground: Ground, ms: float = SHARE_MS) -> None:
    """The moment of the rate has come, and what stands in the lane for it is due."""
    for job_id in [*await line(ground)][:1]:
        await ground.redis.zadd(ground.name(W), {job_id: 7})
    await ground.redis.set(ground.name(W, RECORD), await ground.now_ms() + SHARE_MS - ms)


async def line(ground: Ground) -> list[str]:
    """The ids in the line of the kind."""
    found = await ground.redis.lrange(ground.name(W, f":fair:{MARK}"), 0, -1)
    return [entry.decode().split(" ")[0] for entry in found]


async def stands(ground: Ground, job_id: str) -> bool:
    """Whether a job stands in the lane for the moment of its kind's rate, within two shares."""
    score = await ground.score(W, job_id) or 0
    return 0 < score - await ground.now_ms() <= 2 * SHARE_MS


@about("claim", "enqueue")
async def a_kind_begins_at_its_rate_and_holds_up_no_other(ground: Ground) -> None:
    paced = [await ground.put(Paced(name=str(number))) for number in range(4)]
    others = [await ground.put(Work()), await ground.put(Turned())]
    found = await ground.one.claim(W, 10, kind_rates=RATES)
    assert [claim.job_id for claim in found.claims] == [paced[0], *others]
    assert found.next_due_s is not None
    assert 0 < found.next_due_s < 2 * SHARE_MS / 1000, "the worker asks again when the rate allows it"
    assert 0 < await moment(ground) <= SHARE_MS
    assert await stands(ground, paced[1])
    assert await line(ground) == paced[1:]
    assert await ids(ground, by=ground.two) == [], "the rate is one of all workers"
    for number in (1, 2, 3):
        await pass_time(ground)
        assert await ids(ground) == [paced[number]]
    assert not await ground.redis.exists(ground.name(W, f":fair:{MARK}"), ground.name(W, ":fair"))
    assert SHARE_MS < await ground.redis.pttl(ground.name(W, RECORD)) <= 1000 + 2 * SHARE_MS


@about("claim")
async def a_job_that_is_claimed_too_early_is_put_back_to_the_moment_of_its_rate(ground: Ground) -> None:
    first, second, third = [await ground.put(Paced()) for _ in range(3)]
    assert await ids(ground) == [first]
    at = await ground.score(W, second)
    await ground.redis.zadd(ground.name(W), {second: 7})
    assert await ids(ground) == []
    assert abs((await ground.score(W, second) or 0) - (at or 0)) < 1
    await ground.redis.delete(ground.name(W, f":fair:{MARK}"))
    await ground.redis.zadd(ground.name(W), {third: await ground.now_ms() - HOUR_MS})
    assert await ids(ground) == []
    assert await line(ground) == [third], "the line was empty: it is the first one now"
    assert await stands(ground, third)
    await ground.redis.zadd(ground.name(W), {second: 7})
    assert await ids(ground) == []
    assert await line(ground) == [third, second]
    assert await is_behind(ground, second)


@about("claim")
async def what_was_not_used_is_kept_for_a_tenth_of_a_second(ground: Ground) -> None:
    many = {MARK: 50.0}
    for _ in range(12):
        await ground.put(Paced())
    assert len(await ground.ids(W, kind_rates=many)) == 5
    await ground.redis.flushall()
    for _ in range(3):
        await ground.put(Paced())
    await ground.redis.set(ground.name(W, RECORD), await ground.now_ms() - HOUR_MS)
    assert len(await ids(ground)) == 1, "no more than one share where that is longer"


@about("claim")
async def a_rate_that_was_spent_partly_allows_the_rest(ground: Ground) -> None:
    for _ in range(12):
        await ground.put(Paced())
    await ground.redis.set(ground.name(W, RECORD), await ground.now_ms() - 40)
    assert len(await ground.ids(W, kind_rates={MARK: 25.0})) == 2


@about("claim")
async def no_record_can_stop_a_kind_or_set_it_free(ground: Ground) -> None:
    for strange in ("nan", "inf", "1e300", "-inf", "x", str(await ground.now_ms() + HOUR_MS)):
        a = [await ground.put(Paced()) for _ in range(3)]
        await ground.redis.set(ground.name(W, RECORD), strange)
        assert await ids(ground) == a[:1], strange
        assert 0 < await moment(ground) <= SHARE_MS, strange
        await ground.redis.flushall()


@about("claim")
async def a_worker_that_knows_no_rate_does_not_wait_or_cap(ground: Ground) -> None:
    a = [await ground.put(Paced()) for _ in range(3)]
    assert await ground.ids(W, fair_cap=1) == a
    assert not await ground.redis.exists(ground.name(W, RECORD), ground.name(W, f":fair_runs:{MARK}"))
    a = [await ground.put(Paced()) for _ in range(2)]
    assert await ids(ground, fair_cap=1) == a[:1]
    await pass_time(ground)
    assert await ids(ground, fair_cap=1) == a[1:]


@about("finish", "upkeep", "cancel")
async def nobody_pulls_the_first_of_a_kind_out_of_its_line(ground: Ground) -> None:
    a = [await ground.put(Paced()) for _ in range(4)]
    assert await ids(ground) == a[:1]
    at = await ground.score(W, a[1])
    for _ in range(2):
        await ground.upkeep()
    await ground.queue.cancel(a[3])
    await ground.redis.sadd(ground.name(W, f":fair_runs:{MARK}"), a[0])
    claim = Claim(a[0], wire.encode(Paced(), 1), 0, 0, 0, 0)
    await ground.end(claim, W)
    assert await ground.score(W, a[1]) == at
    assert (await line(ground))[0] == a[1]
    assert await is_behind(ground, a[2])


@about("finish", "upkeep", "cancel")
async def the_next_of_a_kind_is_called_for_the_moment_of_its_rate(ground: Ground) -> None:
    for how in ("finish", "upkeep", "cancel"):
        a = [await ground.put(Paced()) for _ in range(3)]
        (claim,) = await take(ground)
        await ground.redis.zrem(ground.name(W), a[1])
        if how == "finish":
            await ground.redis.sadd(ground.name(W, f":fair_runs:{MARK}"), a[0])
            await ground.end(claim, W)
        elif how == "upkeep":
            await ground.upkeep()
        else:
            await ground.redis.zadd(ground.name(W), {a[1]: await ground.now_ms() + 1})
            await ground.queue.cancel(a[1])
        assert await stands(ground, a[2]), how
        await ground.redis.flushall()


@about("upkeep")
async def a_record_is_believed_for_a_day_at_most(ground: Ground) -> None:
    for strange in ("1e300", "nan"):
        a = [await ground.put(Paced()) for _ in range(2)]
        await ground.redis.zrem(ground.name(W), a[0])
        await ground.redis.set(ground.name(W, RECORD), strange)
        await ground.upkeep()
        until_ms = (await ground.score(W, a[1]) or 0) - await ground.now_ms()
        assert until_ms <= 25 * HOUR_MS, strange
        await ground.redis.flushall()


@about("upkeep")
async def a_rate_goes_back_with_the_clock(ground: Ground) -> None:
    await ground.put(Paced())
    await ground.put(Paced())
    await ground.put(Turned())
    await ground.redis.set(ground.name(W, RECORD), await ground.now_ms() + HOUR_MS)
    await ground.redis.set(ground.name(W, ":fair_rate:a"), "of nobody")
    await ground.upkeep()
    assert await ground.redis.exists(ground.name(W, RECORD))
    await ground.redis.set("s:clock", await ground.now_ms() + HOUR_MS)
    await ground.upkeep()
    assert not await ground.redis.exists(ground.name(W, RECORD))
    assert await ground.redis.exists(ground.name(W, ":fair_rate:a"))


@about("claim")
async def a_job_that_comes_due_by_itself_joins_the_line(ground: Ground) -> None:
    first = await ground.put(Paced())
    later = await ground.put(Paced(), delay=HOUR)
    await ground.redis.zadd(ground.name(W), {later: 7})
    assert await ids(ground) == [first] or await line(ground) == [later]
    assert len(await ids(ground)) == 0


@about("cancel")
async def a_job_that_a_stock_worker_runs_is_not_called_cancelled(ground: Ground) -> None:
    job_id = await ground.put(Work())
    await ground.redis.set(f"arq:in-progress:{job_id}", "1")
    assert await ground.queue.cancel(job_id) is CancelAnswer.RUNS_ELSEWHERE
    asked_ms = await ground.redis.zscore(wire.ABORTS, job_id)
    assert abs(asked_ms - await ground.now_ms()) < HOUR_MS
    assert await ground.redis.exists(f"arq:job:{job_id}")
    assert await ground.score(W, job_id) is not None
    await ground.redis.delete(f"arq:in-progress:{job_id}")
    (claim,) = await ground.take(W)
    assert claim.aborted, "where the stock worker has died, it is cancelled here"
    gone = await ground.put(Work())
    await ground.redis.zrem(ground.name(W), gone)
    await ground.redis.set(f"arq:in-progress:{gone}", "1")
    assert await ground.queue.cancel(gone) is CancelAnswer.NOT_FOUND
