"""Scenarios of fair keys, in every script of the queue."""

from __future__ import annotations

from datetime import timedelta

from stoker.queue import wire
from stoker.queue.answers import Answer, CancelAnswer
from stoker.worker.engine.claims import FAR_MS, MARK_MS, Ending
from stoker.worker.engine.depth import depth
from tests.scripts.enqueueing import HOUR, W
from tests.scripts.ground import HOUR_MS, Ground, about
from tests.support.engine_stage import KeyedTurned, Turned, Work

A, B = Turned(tenant="a"), Turned(tenant="b")
KEYED_A = KeyedTurned(tenant="a")
LINE_A, RUNS_A = ":fair:a", ":fair_runs:a"
BEHIND_MS = FAR_MS * 1.5


async def line(ground: Ground, key: str = "a") -> list[str]:
    """The ids in a key's line."""
    found = await ground.redis.lrange(ground.name(W, f":fair:{key}"), 0, -1)
    return [entry.decode().split(" ")[0] for entry in found]


async def keys(ground: Ground) -> list[str]:
    """The keys that have lines."""
    return [key.decode() for key in await ground.redis.zrange(ground.name(W, ":fair"), 0, -1)]


async def is_behind(ground: Ground, job_id: str) -> bool:
    """Whether a job waits behind the first one of its key."""
    return (await ground.score(W, job_id) or 0) > await ground.now_ms() + BEHIND_MS


@about("claim", "enqueue")
async def keys_take_turns_and_each_keeps_its_order(ground: Ground) -> None:
    a = [await ground.put(A) for _ in range(4)]
    b = [await ground.put(B) for _ in range(2)]
    none = await ground.put(Work())
    assert await line(ground) == a
    assert await keys(ground) == ["a", "b"]
    assert await ground.ids(W, 4) == [a[0], b[0], none, a[1]]
    assert await ground.ids(W, 10) == [b[1], a[2], a[3]]
    assert not await ground.redis.exists(ground.name(W, ":fair"), ground.name(W, LINE_A))
    assert await ground.put(A) in await ground.ids(W), "a line that was empty begins anew"


@about("claim", "enqueue")
async def a_key_says_nothing_in_the_arguments(ground: Ground) -> None:
    raw = wire.encode(Work(name='{"fair":"a"'), 1)
    for place in (raw, b"x" + wire.encode(A, 1), b"x" + wire.encode(KEYED_A, 1)):
        await ground.redis.set("arq:job:strange", place)
        await ground.redis.zadd(ground.name(W), {"strange": 2})
        await ground.redis.rpush(ground.name(W, LINE_A), "another 1")
        assert await ground.ids(W) == ["strange"]
        await ground.redis.flushall()


@about("enqueue")
async def only_the_first_of_a_key_rings_and_is_due(ground: Ground) -> None:
    first = await ground.put(A)
    assert await ground.rung(W) == 1
    second = await ground.put(KEYED_A)
    assert await ground.rung(W) == 0
    assert not await is_behind(ground, first)
    due_ms = (await ground.score(W, second) or 0) - 2 * FAR_MS
    assert abs(due_ms - await ground.now_ms()) < HOUR_MS
    assert await ground.redis.zscore(ground.name(W, ":fair"), "a") > 1


@about("enqueue")
async def a_key_that_upkeep_has_seen_stays_seen(ground: Ground) -> None:
    await ground.put(A)
    await ground.redis.zadd(ground.name(W, ":fair"), {"a": 7})
    await ground.put(A)
    assert await ground.redis.zscore(ground.name(W, ":fair"), "a") == 7


@about("enqueue")
async def a_job_in_a_line_keeps_its_place_when_others_join_it(ground: Ground) -> None:
    await ground.put(A)
    waits = await ground.put(KEYED_A)
    joined = await ground.queue.enqueue(KEYED_A)
    assert (joined.job_id, joined.answer) == (waits, Answer.COALESCED)
    assert await is_behind(ground, waits)


@about("enqueue", "claim")
async def a_delayed_job_joins_the_line_when_it_is_due(ground: Ground) -> None:
    later = await ground.put(A, delay=HOUR)
    assert await line(ground) == []
    first = await ground.put(A)
    second = await ground.put(A)
    early = await ground.now_ms() - HOUR_MS
    await ground.redis.zadd(ground.name(W), {later: early})
    await ground.redis.zadd(ground.name(W, ":fair"), {"a": 7})
    assert await ground.ids(W, 1) == [first]
    assert await line(ground) == [second, later]
    assert await ground.score(W, later) == 2 * FAR_MS + early
    assert await ground.redis.zscore(ground.name(W, ":fair"), "a") == 7
    claims = await ground.take(W)
    assert [claim.job_id for claim in claims] == [second, later]
    assert claims[1].due_ms == early
    assert (await ground.take(W)) == []


@about("claim")
async def a_delayed_job_of_an_empty_line_begins_and_joins_none(ground: Ground) -> None:
    later = await ground.put(A, delay=HOUR)
    await ground.redis.zadd(ground.name(W), {later: 7})
    (claim,) = await ground.take(W)
    assert (claim.job_id, claim.due_ms) == (later, 7)
    assert await keys(ground) == []


@about("claim")
async def scores_that_are_no_times_join_a_line_too(ground: Ground) -> None:
    await ground.put(A)
    later = [await ground.put(A, delay=HOUR) for _ in range(2)]
    now_ms = await ground.now_ms()
    await ground.redis.zadd(ground.name(W), {later[0]: "-inf", later[1]: 1.5})
    claims = await ground.take(W)
    assert {claim.job_id for claim in claims[1:]} == set(later)
    assert all(0 <= claim.due_ms <= now_ms + HOUR_MS for claim in claims)


@about("claim")
async def many_that_come_due_at_once_are_met_in_several_calls(ground: Ground) -> None:
    await ground.put(A)
    late = [f"late-{number:04}" for number in range(1200)]
    raw = wire.encode(A, 1)
    await ground.redis.mset({f"arq:job:{one}": raw for one in late})
    await ground.redis.zadd(ground.name(W), dict.fromkeys(late, 2))
    found = await ground.one.claim(W, 5)
    assert found.claims == []
    assert found.next_due_s is not None
    assert found.next_due_s <= 0, "it is to be asked again at once"
    assert len(await line(ground)) == 1001
    assert len(await ground.ids(W, 1)) == 1


@about("claim")
async def at_most_so_many_of_a_key_run_as_its_cap_says(ground: Ground) -> None:
    a = [await ground.put(A) for _ in range(4)]
    b = await ground.put(B)
    assert await ground.ids(W, fair_cap=2) == [a[0], b, a[1]]
    assert 0 < await ground.redis.pttl(ground.name(W, RUNS_A)) <= 30 * 24 * HOUR_MS
    assert await ground.redis.pttl(ground.name(W, RUNS_A)) > MARK_MS, "a run may take longer than a day"
    assert await line(ground) == a[2:]
    assert await is_behind(ground, a[2])
    await ground.redis.zadd(ground.name(W), {a[2]: 7})
    assert await ground.ids(W, by=ground.two, fair_cap=2) == []
    assert await is_behind(ground, a[2])
    assert await line(ground) == a[2:]
    assert await ground.ids(W) == []
    await ground.redis.zadd(ground.name(W), {a[2]: 7})
    assert await ground.ids(W) == a[2:], "another worker knows no cap"


@about("claim")
async def a_job_that_comes_due_at_the_cap_waits_in_its_line(ground: Ground) -> None:
    await ground.put(A)
    later = await ground.put(A, delay=HOUR)
    assert len(await ground.ids(W, fair_cap=1)) == 1
    early = await ground.now_ms() - HOUR_MS
    await ground.redis.zadd(ground.name(W), {later: early})
    await ground.redis.delete(ground.name(W, ":fair"))
    assert await ground.ids(W, fair_cap=1) == []
    assert (await line(ground), await keys(ground)) == ([later], ["a"])
    assert await ground.score(W, later) == 2 * FAR_MS + early


@about("claim")
async def whoever_is_over_the_cap_is_not_called(ground: Ground) -> None:
    first, second = await ground.put(A), await ground.put(A)
    await ground.rung(W)
    assert await ground.ids(W, 1, fair_cap=1) == [first]
    assert await is_behind(ground, second)
    assert await ground.rung(W) == 0


@about("finish", "upkeep", "cancel", "claim")
async def a_first_job_that_was_deferred_does_not_hold_up_its_key(ground: Ground) -> None:
    """An older release failed it, or a stock arq worker runs it: it joins the line when it is due."""
    for how, wait_ms in (("finish", HOUR_MS), ("upkeep", 500), ("cancel", HOUR_MS), ("claim", HOUR_MS)):
        a = [await ground.put(A) for _ in range(4)]
        (claim,) = await ground.take(W, 1, fair_cap=1)
        await ground.redis.zadd(ground.name(W), {a[1]: await ground.now_ms() + wait_ms})
        if how == "finish":
            await ground.end(claim, W)
        elif how == "upkeep":
            await ground.upkeep()
        elif how == "cancel":
            await ground.queue.cancel(a[3])
        else:
            await ground.redis.zadd(ground.name(W), {a[3]: 1})
            await ground.redis.zadd(wire.ABORTS, {a[3]: 1})
            await ground.redis.lpop(ground.name(W, LINE_A))
            await ground.redis.lpush(ground.name(W, LINE_A), f"{a[1]} 1", f"{a[3]} 1")
            assert (await ground.ids(W, 1)) == [a[3]]
        assert (await line(ground))[0] == a[2], how
        assert not await is_behind(ground, a[2]), how
        await ground.redis.flushall()


@about("claim")
async def runs_that_ended_unseen_do_not_count_against_a_cap(ground: Ground) -> None:
    first = await ground.put(A)
    assert await ground.ids(W, fair_cap=1) == [first]
    await ground.redis.zrem(ground.name(W, ":running"), first)
    second = await ground.put(A)
    assert await ground.ids(W, fair_cap=1) == [second]
    assert await ground.redis.smembers(ground.name(W, RUNS_A)) == {second.encode()}


@about("claim")
async def where_there_is_no_cap_nobody_counts(ground: Ground) -> None:
    await ground.put(A)
    await ground.ids(W)
    assert not await ground.redis.exists(ground.name(W, RUNS_A))


@about("finish")
async def the_end_of_a_run_lets_the_next_of_its_key_begin(ground: Ground) -> None:
    a = [await ground.put(A) for _ in range(3)]
    (claim,) = await ground.take(W, fair_cap=1)
    await ground.rung(W)
    await ground.end(claim, W)
    assert await ground.rung(W) == 1
    assert not await is_behind(ground, a[1])
    assert await is_behind(ground, a[2])
    assert not await ground.redis.exists(ground.name(W, RUNS_A))
    (claim,) = await ground.take(W, fair_cap=1)
    await ground.redis.zrem(ground.name(W), a[2])
    await ground.end(claim, W)
    assert await keys(ground) == []
    assert await line(ground) == []


@about("finish")
async def the_end_of_a_run_that_was_not_counted_calls_nobody(ground: Ground) -> None:
    a = [await ground.put(A) for _ in range(3)]
    (claim, *_) = await ground.take(W, 1, fair_cap=2)
    await ground.redis.srem(ground.name(W, RUNS_A), claim.job_id)
    await ground.redis.zadd(ground.name(W), {a[1]: await ground.now_ms() + 2 * FAR_MS})
    await ground.end(claim, W)
    assert await is_behind(ground, a[1])
    await ground.put(Work())
    (plain,) = await ground.take(W)
    await ground.redis.rpush(ground.name(W, ":fair:"), "x 1")
    await ground.redis.sadd(ground.name(W, ":fair_runs:"), plain.job_id)
    await ground.end(plain, W)
    assert await ground.redis.exists(ground.name(W, ":fair:")), "a job without a key has no line"


@about("finish", "upkeep", "cancel")
async def who_stands_in_the_lane_stays_there(ground: Ground) -> None:
    a = [await ground.put(A) for _ in range(4)]
    (claim,) = await ground.take(W, 1, fair_cap=2)
    await ground.redis.zadd(ground.name(W), {a[1]: 7})
    await ground.end(claim, W)
    await ground.upkeep()
    await ground.queue.cancel(a[3])
    assert await ground.score(W, a[1]) == 7
    assert await is_behind(ground, a[2])


@about("claim")
async def a_claim_leaves_who_stands_in_the_lane(ground: Ground) -> None:
    first, second = await ground.put(A), await ground.put(A)
    await ground.redis.zadd(ground.name(W), {first: 6, second: 7})
    assert await ground.ids(W, 1) == [first]
    assert await ground.score(W, second) == 7
    assert await line(ground) == [second]


@about("finish", "upkeep", "cancel", "claim")
async def who_is_gone_runs_or_is_parked_leaves_its_line(ground: Ground) -> None:
    for how in ("finish", "upkeep", "cancel", "claim"):
        a = [await ground.put(A) for _ in range(6)]
        (claim,) = await ground.take(W, 1, fair_cap=2)
        now_ms = await ground.now_ms()
        await ground.redis.zrem(ground.name(W), a[1])
        await ground.redis.zadd(ground.name(W), {a[2]: now_ms + FAR_MS, a[3]: "inf"})
        await ground.rung(W)
        if how == "finish":
            await ground.end(claim, W)
        elif how == "upkeep":
            await ground.upkeep()
        elif how == "cancel":
            await ground.queue.cancel(a[5])
        else:
            await ground.redis.zadd(ground.name(W), {a[1]: 7})
            assert (await ground.ids(W, 1))[0] == a[1]
        assert (await line(ground))[0] == a[4], how
        assert not await is_behind(ground, a[4]), how
        assert await ground.rung(W) == 1, how
        await ground.redis.flushall()


@about("cancel")
async def the_cancelled_first_of_a_key_makes_way(ground: Ground) -> None:
    for job in (A, KEYED_A):
        first, second = await ground.put(job), await ground.put(A)
        await ground.redis.rpush(ground.name(W, ":bell"), "1")
        assert await ground.queue.cancel(first) is CancelAnswer.CANCELLED
        assert await ground.rung(W) == 2, "one token is enough"
        assert await ground.ids(W) == [second]
        await ground.redis.flushall()


@about("cancel")
async def cancelled_ones_leave_nothing(ground: Ground) -> None:
    for job_id in [await ground.put(A) for _ in range(3)]:
        await ground.queue.cancel(job_id)
    assert not await ground.redis.exists(ground.name(W, ":fair"), ground.name(W, LINE_A))


@about("upkeep")
async def a_line_that_stands_still_goes_on(ground: Ground) -> None:
    """A release without lines has taken the first job."""
    first, second, third = [await ground.put(A) for _ in range(3)]
    now_ms = await ground.now_ms()
    await ground.redis.zadd(ground.name(W), {first: now_ms + FAR_MS})
    await ground.redis.zadd(ground.name(W, ":running"), {first: now_ms + HOUR_MS})
    await ground.redis.zadd(ground.name(W, ":fair"), {"a": 1})
    await ground.rung(W)
    await ground.upkeep()
    assert await ground.rung(W) == 1
    assert not await is_behind(ground, second)
    assert await is_behind(ground, third)
    assert await line(ground) == [second, third]
    assert await ground.redis.zscore(ground.name(W, ":fair"), "a") > 1


@about("upkeep")
async def lines_are_seen_in_turn_and_empty_ones_forgotten(ground: Ground) -> None:
    await ground.put(Work(), delay=HOUR)
    await ground.redis.zadd(ground.name(W, ":fair"), {f"k{number:03}": number for number in range(150)})
    await ground.upkeep()
    assert len(await keys(ground)) == 50
    await ground.upkeep()
    assert await keys(ground) == []


@about("upkeep", "claim")
async def a_rescued_job_does_not_go_to_the_end_of_its_line(ground: Ground) -> None:
    a = [await ground.put(A) for _ in range(3)]
    assert await ground.ids(W, 1) == a[:1]
    await ground.redis.set("s:suspect:one", "another")
    await ground.expire(W, a[0])
    await ground.upkeep(by=ground.two)
    assert await ground.get(f"rescues:{a[0]}") == "0", "nobody blames it"
    early = await ground.now_ms() - HOUR_MS
    await ground.redis.zadd(ground.name(W), {a[0]: early})
    (claim,) = await ground.take(W, 1)
    assert (claim.job_id, claim.due_ms) == (a[0], early)
    assert await line(ground) == a[1:]


@about("claim")
async def an_aborted_job_is_told_without_a_turn(ground: Ground) -> None:
    a = [await ground.put(A) for _ in range(3)]
    for job_id in (a[2], a[0]):
        await ground.redis.zadd(ground.name(W), {job_id: 1})
        await ground.redis.zadd(wire.ABORTS, {job_id: 1})
        (claim,) = await ground.take(W, 1)
        assert (claim.job_id, claim.aborted) == (job_id, True)
    assert await ground.ids(W) == [a[1]]


@about("claim")
async def who_must_wait_for_another_reason_lets_its_key_go_on(ground: Ground) -> None:
    a = [await ground.put(A) for _ in range(2)]
    await ground.redis.set("s:suspect:one", "another")
    await ground.redis.set(f"s:rescues:{a[0]}", 2)
    assert await ground.ids(W) == a[1:]
    await ground.redis.flushall()
    running = await ground.put(KEYED_A)
    assert await ground.ids(W) == [running]
    held, free = await ground.put(KEYED_A), await ground.put(A)
    assert await ground.ids(W) == [free]
    assert await ground.get(f"held:{wire.digest(KEYED_A)}") == held
    assert await keys(ground) == []


@about("claim")
async def what_is_parked_takes_its_turn_when_its_kind_is_known(ground: Ground) -> None:
    parked = await ground.put(A, delay=HOUR)
    await ground.redis.zadd(ground.name(W, ":parked"), {parked: 1})
    first = await ground.put(A)
    assert await ground.ids(W, parked_kinds=[A.kind]) == []
    assert await line(ground) == [first, parked]
    assert await ground.ids(W) == [first, parked]


@about("claim", "finish", "enqueue", "upkeep", "cancel")
async def what_is_no_line_stops_nobody(ground: Ground) -> None:
    await ground.redis.set(ground.name(W, LINE_A), "x")
    await ground.redis.zadd(ground.name(W, ":fair"), {"a": 1})
    await ground.redis.set(ground.name(W, RUNS_A), "x")
    first = await ground.put(A)
    gone = await ground.put(A)
    await ground.upkeep()
    await ground.queue.cancel(gone)
    (claim,) = await ground.take(W, fair_cap=1)
    assert claim.job_id == first
    await ground.redis.delete(ground.name(W, RUNS_A), ground.name(W, LINE_A))
    await ground.redis.set(ground.name(W, RUNS_A), "x")
    assert await ground.end(claim, W, Ending.AGAIN)
    (claim,) = await ground.take(W, fair_cap=1)
    await ground.redis.set(ground.name(W, LINE_A), "x")
    assert await ground.end(claim, W)
    await ground.redis.delete(ground.name(W, LINE_A))
    await ground.redis.rpush(ground.name(W, LINE_A), "no entry")
    await ground.redis.zadd(ground.name(W, ":fair"), {"a": 1})
    last = await ground.put(A)
    await ground.upkeep()
    assert await ground.ids(W) == [last]


@about("finish", "upkeep", "cancel", "claim")
async def a_strange_entry_in_a_line_holds_nobody_up(ground: Ground) -> None:
    for how in ("finish", "upkeep", "cancel", "claim"):
        first, second, third = [await ground.put(A) for _ in range(3)]
        if how != "claim":
            (claim,) = await ground.take(W, 1, fair_cap=1)
        await ground.redis.lpush(ground.name(W, LINE_A), *(["strange"] if how != "claim" else []) or ["x"])
        if how == "finish":
            await ground.end(claim, W)
        elif how == "upkeep":
            await ground.upkeep()
        elif how == "cancel":
            await ground.queue.cancel(third)
        else:
            await ground.redis.lrem(ground.name(W, LINE_A), 1, "x")
            await ground.redis.linsert(
                ground.name(W, LINE_A), "BEFORE", await ground.redis.lindex(ground.name(W, LINE_A), 1), "x"
            )
            assert await ground.ids(W, 1) == [first]
        assert not await is_behind(ground, second), how
        await ground.redis.flushall()


@about("depth")
async def those_in_lines_are_ready(ground: Ground) -> None:
    for _ in range(3):
        await ground.put(A)
    await ground.put(A, delay=HOUR)
    found = (await depth(ground.queue))[W]
    assert (found.ready, found.deferred) == (3, 1)
    waits = (await line(ground))[2]
    await ground.redis.zadd(ground.name(W), {waits: await ground.now_ms() - HOUR_MS + 2 * FAR_MS})
    assert 3590 < (await depth(ground.queue))[W].oldest_ready_age_s < 3700
    await ground.redis.zadd(ground.name(W), {"old": await ground.now_ms() - 2 * HOUR_MS})
    assert 7190 < (await depth(ground.queue))[W].oldest_ready_age_s < 7300
    await ground.redis.zrem(ground.name(W), "old", (await line(ground))[0])
    found = (await depth(ground.queue))[W]
    assert found.ready == 2, "all of them wait for a cap"
    assert 3590 < found.oldest_ready_age_s < 3700
    await ground.put(Work(), delay=timedelta(days=4000))
    assert (await depth(ground.queue))[W].ready == 2


@about("upkeep")
async def jobs_whose_line_was_deleted_join_it_again_in_their_order(ground: Ground) -> None:
    a = [await ground.put(A) for _ in range(4)]
    b = [await ground.put(B) for _ in range(2)]
    await ground.redis.delete(ground.name(W, LINE_A), ground.name(W, ":fair"))
    await ground.rung(W)
    await ground.upkeep()
    assert await line(ground) == a[1:]
    assert await line(ground, "b") == b
    assert await ground.rung(W) == 1
    assert "a" in await keys(ground)
    assert not await is_behind(ground, a[1])
    found = await ground.ids(W)
    assert [one for one in found if one in a] == [*a[1:], a[0]], "the first one stood in no line"
    assert set(b) <= set(found)


@about("upkeep")
async def a_deleted_line_that_others_have_joined_gets_its_jobs_back(ground: Ground) -> None:
    a = [await ground.put(A) for _ in range(3)]
    await ground.redis.delete(ground.name(W, LINE_A))
    new = [await ground.put(A) for _ in range(2)]
    await ground.redis.zadd(ground.name(W, ":fair"), {"a": 7})
    await ground.rung(W)
    await ground.upkeep()
    assert await line(ground) == [*new, *a[1:]]
    assert await ground.rung(W) == 0, "its first one stands in the lane already"
    assert set(await ground.ids(W)) == {*a, *new}


@about("upkeep")
async def a_job_joins_its_line_once_whatever_its_score(ground: Ground) -> None:
    a = [await ground.put(A) for _ in range(4)]
    late = await ground.now_ms() + 2 * FAR_MS + HOUR_MS
    early = await ground.now_ms() + 2 * FAR_MS - HOUR_MS
    await ground.redis.zadd(ground.name(W), {a[1]: early, a[2]: late, a[3]: "inf"})
    put_ms = await ground.now_ms()
    while (
        await ground.now_ms() == put_ms
    ):  # in the same millisecond the entries of before would be the right ones
        pass
    for _ in range(3):
        await ground.upkeep()
    assert sorted(await line(ground)) == sorted([*a, *a[1:]])
    assert await ground.score(W, a[1]) == early
    assert set(await ground.ids(W)) == set(a)


@about("upkeep")
async def a_key_of_another_type_in_place_of_a_line_loses_no_job(ground: Ground) -> None:
    a = [await ground.put(A) for _ in range(2)]
    await ground.redis.set(ground.name(W, LINE_A), "x")
    await ground.upkeep()
    assert set(await ground.ids(W)) == set(a)


@about("upkeep")
async def jobs_of_long_lines_are_not_looked_up(ground: Ground) -> None:
    a = [await ground.put(A) for _ in range(2)]
    await ground.redis.delete(ground.name(W, LINE_A))
    await ground.redis.rpush(ground.name(W, LINE_A), *["gone 1"] * 1001)
    await ground.redis.zadd(
        ground.name(W, ":fair"), {"a": 7, **{f"key-{number}": 1 for number in range(100)}}
    )
    await ground.upkeep()
    assert a[1] not in await line(ground)
    await ground.redis.lpop(ground.name(W, LINE_A))
    await ground.redis.zadd(ground.name(W, ":fair"), {f"key-{number}": 1 for number in range(100)})
    await ground.upkeep()
    assert set(await ground.ids(W)) == set(a)


@about("upkeep")
async def fifty_that_wait_are_looked_up_in_a_round(ground: Ground) -> None:
    a = [await ground.put(A) for _ in range(61)]
    await ground.redis.delete(ground.name(W, LINE_A))
    await ground.upkeep()
    assert len(await line(ground)) == 50
    assert a[0] not in await line(ground), "it does not wait behind another"


@about("upkeep")
async def one_that_waits_without_a_payload_is_claimed(ground: Ground) -> None:
    a = [await ground.put(A) for _ in range(2)]
    await ground.redis.delete(ground.name(W, LINE_A), f"arq:job:{a[1]}")
    await ground.upkeep()
    assert [claim.payload is None for claim in await ground.take(W)] == [False, True]
