"""Rows 10, 26 and 40 of RACES.md: coalescing drops no change, and never outlives the job it stands for."""

# ruff: noqa: F811 - fixtures are imported by name

from __future__ import annotations

import asyncio
import random
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from jobs.contracts import Lane, Relay
from jobs.enqueue import Answer, Enqueued, Queue
from jobs.errors import Defer, Unavailable
from tests.engine_fixtures import known_contracts, queue, sql, stage  # noqa: F401
from tests.engine_stage import Keyed, Stage, Work, running, settled


async def test_row_10_a_request_while_the_same_job_runs_is_not_dropped(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    release = stage.hold(Relay.kind)
    async with running(queue, queue_url, stage, sql):
        first = await queue.enqueue(Relay())
        await stage.until(lambda: len(stage.runs) == 1)
        second = await queue.enqueue(Relay())
        assert (first.answer, second.answer) == (Answer.ENQUEUED, Answer.WILL_RERUN)
        assert first.job_id != second.job_id
        release.set()
        await settled(queue, Lane.CHANGES, done=2)


async def test_row_10_a_request_right_after_the_same_job_ended_is_not_dropped(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    async with running(queue, queue_url, stage, sql):
        for number in range(1, 6):
            assert (await queue.enqueue(Relay())).answer is Answer.ENQUEUED
            await settled(queue, Lane.CHANGES, done=number)


async def test_requests_join_the_job_that_waits(queue: Queue) -> None:
    first = await queue.enqueue(Keyed(name="a"))
    assert await queue.enqueue(Keyed(name="a")) == Enqueued(first.job_id, Answer.COALESCED)
    assert (await queue.enqueue(Keyed(name="b"))).answer is Answer.ENQUEUED
    many = await queue.enqueue_many([Keyed(name="a"), Keyed(name="c"), Keyed(name="c"), Work(), Work()])
    assert [one.answer for one in many] == ["coalesced", "enqueued", "coalesced", "enqueued", "enqueued"]


async def test_row_26_a_change_during_a_build_always_causes_one_more_build_and_never_two_at_once(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    release = stage.hold("entry")
    async with running(queue, queue_url, stage, sql):
        await queue.enqueue(Keyed(name="entry"))
        await stage.until(lambda: len(stage.runs) == 1)
        rerun = await queue.enqueue(Keyed(name="entry"))
        assert rerun.answer is Answer.WILL_RERUN
        assert await queue.enqueue(Keyed(name="entry")) == Enqueued(rerun.job_id, Answer.COALESCED)
        # Another job of the lane has begun after it, so it was looked at, and held back.
        await queue.enqueue(Keyed(name="other"))
        await stage.until(lambda: ("other", 1) in stage.runs)
        await queue.enqueue(Keyed(name="third"))
        await stage.until(lambda: ("third", 1) in stage.runs)
        assert [name for name, _ in stage.runs].count("entry") == 1
        release.set()
        await stage.until(lambda: [name for name, _ in stage.runs].count("entry") == 2, 3)
        await settled(queue, Lane.REFRESH, done=4, ready=0, deferred=0)


async def test_row_26_the_flag_is_cleared_before_the_task_begins(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    answers: list[Answer] = []

    async def ask_for_itself(_: int) -> str:
        if not answers:
            answers.append((await queue.enqueue(Keyed(name="self"))).answer)
        return "done"

    stage.acts["self"] = ask_for_itself
    async with running(queue, queue_url, stage, sql):
        await queue.enqueue(Keyed(name="self"))
        await settled(queue, Lane.REFRESH, done=2)
    assert answers == [Answer.WILL_RERUN]


async def test_row_40_a_flag_whose_job_is_gone_holds_nobody_back(queue: Queue) -> None:
    first = await queue.enqueue(Keyed(name="a"))
    await queue.redis.zrem(f"{queue.settings.prefix}:{Lane.REFRESH}", first.job_id)
    second = await queue.enqueue(Keyed(name="a"))
    assert second.answer is Answer.ENQUEUED
    await queue.redis.delete(f"arq:job:{second.job_id}")
    assert (await queue.enqueue(Keyed(name="a"))).answer is Answer.ENQUEUED


async def test_a_begun_job_is_joined_by_nobody(queue: Queue) -> None:
    first = await queue.enqueue(Keyed(name="a"))
    await queue.begin("another", Keyed(name="a"))
    assert (await queue.enqueue(Keyed(name="a"))).answer is Answer.COALESCED
    await queue.begin(first.job_id, Keyed(name="a"))
    assert (await queue.enqueue(Keyed(name="a"))).answer is Answer.ENQUEUED


async def test_a_request_for_now_brings_a_deferred_job_forward(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    later = await queue.enqueue(Keyed(name="a"), delay=timedelta(hours=1))
    now = await queue.enqueue(Keyed(name="a"))
    assert now == Enqueued(later.job_id, Answer.COALESCED)
    async with running(queue, queue_url, stage, sql):
        await settled(queue, Lane.REFRESH, done=1)


async def test_a_failing_job_does_not_multiply_while_it_backs_off(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    async def away(_: int) -> str:
        raise Unavailable("away")

    async def deferred(_: int) -> str:
        raise Defer(timedelta(hours=1))

    stage.acts |= {"fails": away, "waits": deferred}
    async with running(queue, queue_url, stage, sql):
        asked = await queue.enqueue(Keyed(name="waits"))
        await settled(queue, Lane.REFRESH, deferred=1, running=0)
        stage.acts["waits"] = stage.acts["fails"]
        assert (await queue.enqueue(Keyed(name="waits"))).job_id == asked.job_id
        await settled(queue, Lane.REFRESH, dead=1, failed=3)


async def test_no_change_is_lost_while_changes_and_builds_interleave_at_random(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    # Two workers build 20 entries while 4,000 changes arrive: each entry's last build read its last change.
    names = [f"entry-{number}" for number in range(20)]
    changed, built = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
    building: set[str] = set()
    chance = random.Random(26)

    def builder(name: str) -> None:
        async def build(_: int) -> str:
            assert name not in building, "two builds of one entry at once"
            building.add(name)
            seen = changed[name]
            for _turn in range(chance.randrange(4)):
                await asyncio.sleep(0)
            building.discard(name)
            built[name] = seen
            return "done"

        stage.acts[name] = build

    for name in names:
        builder(name)
    async with (
        running(queue, queue_url, stage, sql),
        running(queue, queue_url, stage, sql),
    ):
        for _ in range(500):
            batch = chance.choices(names, k=8)
            for name in batch:
                changed[name] += 1
            await queue.enqueue_many([Keyed(name=name) for name in batch])
        await settled(queue, Lane.REFRESH, ready=0, deferred=0, running=0, dead=0)
    assert built == changed
    assert len(stage.runs) < 4000
