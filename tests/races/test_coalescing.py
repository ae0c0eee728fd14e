"""Rows 10, 26 and 40 of RACES.md: coalescing drops no change, and never outlives the job it stands for."""

# ruff: noqa: F811 - fixtures are imported by name

from __future__ import annotations

import asyncio
import random
from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from stoker.errors import Defer, Unavailable
from stoker.jobs import Lane, Relay
from stoker.queue.answers import Answer, Enqueued
from stoker.queue.enqueue import Queue
from tests.races.race import race
from tests.races.world import never
from tests.support.engine_fixtures import known_jobs, queue, sql, stage  # noqa: F401
from tests.support.engine_stage import Keyed, Stage, Work, running, settled


@race("no ids that are taken", "flags cleared when their jobs begin")
async def test_a_request_while_the_same_job_runs_is_not_dropped(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    """Row 10. A running job may have read before the change; arq's own ids would drop the request."""
    release = stage.hold(Relay.kind)
    async with running(queue, queue_url, stage, sql):
        first = await queue.enqueue(Relay())
        await stage.until(lambda: len(stage.runs) == 1)
        second = await queue.enqueue(Relay())
        release.set()
        await settled(queue, Lane.CHANGES, ready=0, running=0, deferred=0)
    never("the request was dropped", happened=len(stage.runs) == 1)
    assert (first.answer, second.answer) == (Answer.ENQUEUED, Answer.WILL_RERUN)
    assert (len(stage.runs), first.job_id != second.job_id) == (2, True)


@race("no ids that are taken")
async def test_a_request_right_after_the_same_job_ended_is_not_dropped(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    """Row 10. A result that is kept must not stand for work that is to be done again."""
    async with running(queue, queue_url, stage, sql):
        for number in range(1, 6):
            await queue.enqueue(Relay())
            await settled(queue, Lane.CHANGES, ready=0, running=0, deferred=0)
            never(f"request {number} was dropped", happened=len(stage.runs) != number)


async def test_requests_join_the_job_that_waits(queue: Queue) -> None:
    first = await queue.enqueue(Keyed(name="a"))
    assert await queue.enqueue(Keyed(name="a")) == Enqueued(first.job_id, Answer.COALESCED)
    assert (await queue.enqueue(Keyed(name="b"))).answer is Answer.ENQUEUED
    many = await queue.enqueue_many([Keyed(name="a"), Keyed(name="c"), Keyed(name="c"), Work(), Work()])
    assert [one.answer for one in many] == ["coalesced", "enqueued", "coalesced", "enqueued", "enqueued"]


@race("flags cleared when their jobs begin", "one build of an entry at a time")
async def test_a_change_during_a_build_is_not_left_to_it_and_does_not_cause_two_at_once(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    """Row 26. A request during a build leads to exactly one more build, after this one."""
    release = stage.hold("entry")
    async with running(queue, queue_url, stage, sql):
        await queue.enqueue(Keyed(name="entry"))
        await stage.until(lambda: len(stage.runs) == 1)
        rerun = await queue.enqueue(Keyed(name="entry"))
        joined = await queue.enqueue(Keyed(name="entry"))
        # A later job of the lane has started, so this one was examined and held back.
        await queue.enqueue(Keyed(name="other"))
        await stage.until(lambda: ("other", 1) in stage.runs)
        await queue.enqueue(Keyed(name="third"))
        await stage.until(lambda: ("third", 1) in stage.runs)
        never("two builds of one entry at once", happened=_builds(stage) != 1)
        release.set()
        await settled(queue, Lane.REFRESH, ready=0, running=0, deferred=0)
    never("the change was left to the build under way", happened=_builds(stage) == 1)
    assert (rerun.answer, joined) == (Answer.WILL_RERUN, Enqueued(rerun.job_id, Answer.COALESCED))
    assert _builds(stage) == 2


def _builds(stage: Stage) -> int:
    return [name for name, _ in stage.runs].count("entry")


@race("flags cleared when their jobs begin")
async def test_a_change_seen_by_the_task_itself_does_not_join_it(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    """Row 26. The flag is cleared before the task begins, not somewhere in it."""
    answers: list[Answer] = []

    async def ask_for_itself(_: int) -> str:
        if not answers:
            answers.append((await queue.enqueue(Keyed(name="self"))).answer)
        return "done"

    stage.acts["self"] = ask_for_itself
    async with running(queue, queue_url, stage, sql):
        await queue.enqueue(Keyed(name="self"))
        await settled(queue, Lane.REFRESH, ready=0, running=0, deferred=0)
    never("the change was left to the task that asked", happened=len(stage.runs) == 1)
    assert (answers, len(stage.runs)) == ([Answer.WILL_RERUN], 2)


@race("flags counting only while their jobs are queued")
@pytest.mark.parametrize("lost", ["its place in the queue", "its payload"])
async def test_a_flag_whose_job_is_gone_does_not_hold_anybody_back(queue: Queue, lost: str) -> None:
    """Row 40. The flag holds a job's id, and counts only while that job can run."""
    first = await queue.enqueue(Keyed(name="a"))
    if lost == "its payload":
        await queue.redis.delete(f"arq:job:{first.job_id}")
    else:
        await queue.redis.zrem(f"{queue.settings.prefix}:{Lane.REFRESH}", first.job_id)
    second = await queue.enqueue(Keyed(name="a"))
    never("it joined a job that nobody will run", happened=second.answer is Answer.COALESCED)
    assert second.answer is Answer.ENQUEUED


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
