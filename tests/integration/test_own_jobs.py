"""An application's own jobs: declared, enqueued, run, followed; refused where they could never run."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest

from stoker import Cron, Domain, Every, Lane, Stoker
from stoker.errors import (
    BadRequest,
    DeclarationError,
    InvalidResult,
    JobFailed,
    SettingsError,
    UnknownJob,
    UnknownLane,
)
from stoker.handlers.context import JobContext
from stoker.history.times import job_times
from stoker.jobs import Job, Prune, Relay, RetryPolicy
from stoker.operations import lanes as lane_operations
from stoker.operations.audit import Actor
from stoker.queue.progress import JobState
from stoker.testing import drain
from stoker.worker.process import run_worker
from tests.library import domain as library
from tests.support.engine_stage import settled
from tests.support.place import Place


class Add(Job):
    kind = "sum.add"
    lane = "sums"
    keep_result = timedelta(minutes=1)
    left: int
    right: int


class Slow(Job):
    kind = "sum.slow"
    lane = "sums"
    timeout = timedelta(seconds=0.3)
    retry = RetryPolicy(attempts=1)
    keep_result = timedelta(minutes=1)


class Flaky(Job):
    kind = "sum.flaky"
    lane = "sums"
    keep_result = timedelta(minutes=1)
    retry = RetryPolicy(attempts=3, first=timedelta(milliseconds=10), errors=(ConnectionError,))
    failures: int


class Odd(Job):
    kind = "sum.odd"
    lane = "sums"
    keep_result = timedelta(minutes=1)
    size: int = 0


class Blocking(Job):
    kind = "sum.blocking"
    lane = "sums"
    keep_result = timedelta(minutes=1)


class Unhandled(Job):
    kind = "sum.unhandled"
    lane = "sums"


class Counting:
    """What a worker's lifespan makes."""

    def __init__(self) -> None:
        self.calls: list[str] = []


@asynccontextmanager
async def counting(_: Stoker) -> AsyncIterator[Counting]:
    yield Counting()


async def add(context: JobContext, job: Add) -> dict[str, Any]:
    await context.report(1, 1)
    context.resources.calls.append("add")
    return {"sum": job.left + job.right, "attempt": context.attempt, "calls": context.resources.calls}


def slow(_: JobContext, __: Slow) -> None:
    time.sleep(1)


async def flaky(context: JobContext, job: Flaky) -> int:
    if context.attempt <= job.failures:
        raise ConnectionError("not yet")
    return context.attempt


def odd(_: JobContext, job: Odd) -> object:
    return "x" * job.size if job.size else threading.Lock()


async def blocking(_: JobContext, __: Blocking) -> None:
    time.sleep(1.6)  # noqa: ASYNC251 - that is the mistake


async def noted(context: JobContext, job: Job, call: Callable[[], Awaitable[Any]]) -> object:
    context.resources.calls.append(f"around {job.kind}")
    return await call()


SUMS = Lane("sums", concurrency=3)
domain = replace(
    library,
    lanes=(SUMS,),
    handlers={Add: add, Slow: slow, Flaky: flaky, Odd: odd, Blocking: blocking},
    around=(noted,),
    lifespan=counting,
)


@pytest.fixture
async def opened(place: Place) -> AsyncIterator[Stoker]:
    """A Stoker; `drain` does what a worker would."""
    async with Stoker.opened(place.settings(), domain) as stoker:
        yield stoker


@pytest.fixture
async def working(place: Place) -> AsyncIterator[Stoker]:
    """A Stoker, and a worker beside it."""
    settings = place.settings(schedule={"enable_background_warming": False})
    async with Stoker.opened(settings, domain) as stoker, Stoker.opened(settings, domain) as workers:
        stop = asyncio.Event()
        worker = asyncio.create_task(run_worker(workers, settings, stop))
        try:
            yield stoker
        finally:
            stop.set()
            await worker


async def test_a_job_runs_in_its_lane_and_its_result_is_read(working: Stoker) -> None:
    asked = await working.enqueue(Add(left=1, right=2))
    found = await working.result(asked.job_id)
    assert (found["sum"], found["attempt"]) == (3, 1)
    assert found["calls"] == ["around sum.add", "add"]
    report = await working.progress(asked.job_id)
    assert report is not None
    assert report.done == 1


async def test_a_plain_function_runs_in_a_thread_and_is_left_behind_at_its_timeout(
    working: Stoker, caplog: pytest.LogCaptureFixture
) -> None:
    late = await working.enqueue(Slow())
    found = await working.result((await working.enqueue(Add(left=2, right=2))).job_id)
    assert found["sum"] == 4, "the loop was blocked"
    with pytest.raises(JobFailed):
        await working.result(late.job_id)
    assert "job.thread_left_behind" in caplog.messages


async def test_a_handler_that_blocks_the_loop_is_named_and_measured(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    settings = place.settings(schedule={"enable_background_warming": False})
    async with Stoker.opened(settings, domain) as stoker:
        stop = asyncio.Event()
        worker = asyncio.create_task(run_worker(stoker, settings, stop))
        asked = await stoker.enqueue(Blocking())
        await stoker.result(asked.job_id)
        stop.set()
        await worker  # it has told what it counted
        [(labels, seconds)] = (await job_times(stoker.queue)).blocked.items()
    assert labels == ("sum.blocking",)
    assert 1 <= seconds.sum_s < 30
    [line] = [one for one in caplog.records if one.message == "worker.loop_blocked"]
    assert (vars(line)["kind"], vars(line)["job_id"]) == ("sum.blocking", asked.job_id)
    assert vars(line)["at"].endswith(" blocking")


async def test_declared_errors_are_retried_and_others_are_told(opened: Stoker) -> None:
    asked = await opened.enqueue(Flaky(failures=2))
    drained = await drain(opened, raises=False, later=True)
    assert [one.outcome for one in drained.ran] == ["retried", "retried", "done"]
    assert await opened.result(asked.job_id) == 3
    asked = await opened.enqueue(Flaky(failures=3))
    drained = await drain(opened, raises=False, later=True)
    assert [one.outcome for one in drained.ran] == ["retried", "retried", "dead"]
    with pytest.raises(JobFailed, match="not yet"):
        await opened.result(asked.job_id)


@pytest.mark.parametrize(("size", "said"), [(0, "no JSON"), (1_000_001, "over 1,000,000")])
async def test_a_result_that_cannot_be_kept_fails_the_job(opened: Stoker, size: int, said: str) -> None:
    asked = await opened.enqueue(Odd(size=size))
    with pytest.raises(InvalidResult, match=said):
        await drain(opened)
    with pytest.raises(JobFailed, match=said):
        await opened.result(asked.job_id)


async def test_a_waiting_job_is_cancelled_and_a_moment_can_be_given(opened: Stoker) -> None:
    asked = await opened.enqueue(Add(left=1, right=1), at=datetime.now(UTC) + timedelta(hours=1))
    assert (await drain(opened)).ran == ()
    with pytest.raises(TimeoutError, match=f"job {asked.job_id} has not ended within 0.05 s"):
        await opened.result(asked.job_id, timeout=timedelta(seconds=0.05))
    await opened.cancel(asked.job_id)
    with pytest.raises(JobFailed, match=f"job {asked.job_id} was cancelled$"):
        await opened.result(asked.job_id)
    soon = await opened.enqueue(Add(left=1, right=1), delay=timedelta(hours=1))
    assert [one.job_id for one in (await drain(opened, later=True)).ran] == [soon.job_id]
    assert (await opened.result(soon.job_id))["sum"] == 2


async def test_what_could_never_run_is_refused_where_it_is_enqueued(opened: Stoker) -> None:
    with pytest.raises(UnknownJob, match=r"no handler for Unhandled.*sum\.add, sum\.blocking, sum\.flaky"):
        await opened.enqueue(Unhandled())
    with pytest.raises(BadRequest, match="delay must be a timedelta"):
        await opened.enqueue(Add(left=1, right=1), delay=5)  # type: ignore[arg-type]
    with pytest.raises(BadRequest, match="time zone"):
        await opened.enqueue(Add(left=1, right=1), at=datetime(2030, 1, 1))  # noqa: DTZ001 - that is the mistake

    class Large(Add):
        kind: ClassVar = "sum.large"
        text: str

    opened.domain.handlers[Large] = add  # type: ignore[index]
    try:
        with pytest.raises(BadRequest, match="give ids, not rows"):
            await opened.enqueue(Large(left=1, right=1, text="x" * 1_000_001))
    finally:
        del opened.domain.handlers[Large]  # type: ignore[attr-defined]


async def test_operators_pause_a_lane_of_the_application(working: Stoker) -> None:
    actor = Actor("ann")
    assert "sums" in (await lane_operations.listing(working)).lanes
    await lane_operations.pause(working, actor, working.domain.lane("sums"))
    asked = await working.enqueue(Add(left=3, right=3))
    with suppress(TimeoutError):
        await working.result(asked.job_id, timeout=timedelta(seconds=0.2))
    assert (await lane_operations.listing(working)).lanes["sums"].ready == 1
    await lane_operations.resume(working, actor, working.domain.lane("sums"))
    assert (await working.result(asked.job_id))["sum"] == 6
    with pytest.raises(UnknownLane, match="no lane 'sum'; there are: changes, refresh, warm, sums"):
        working.domain.lane("sum")


async def test_workers_share_the_lanes_out(place: Place) -> None:
    settings = place.settings(schedule={"enable_background_warming": False})
    async with Stoker.opened(settings, domain) as stoker, Stoker.opened(settings, domain) as workers:
        stop = asyncio.Event()
        pruned = await stoker.enqueue(Prune())
        added = await stoker.enqueue(Add(left=1, right=1))
        worker = asyncio.create_task(run_worker(workers, settings, stop, only=["sums"]))
        assert (await stoker.result(added.job_id))["sum"] == 2
        lanes = (await lane_operations.listing(stoker)).lanes
        assert lanes["warm"].totals["done"] == 0
        assert await stoker.queue.is_open(pruned.job_id), "it waits, with whatever the schedule has added"
        stop.set()
        await worker
        stop.clear()
        worker = asyncio.create_task(run_worker(workers, settings, stop, only=["warm", "refresh"]))
        await settled(stoker.queue, Lane.WARM, ready=0, running=0)
        assert not await stoker.queue.is_open(pruned.job_id)
        stop.set()
        await worker


async def test_a_release_without_the_handler_parks_the_job_for_the_one_that_has_it(place: Place) -> None:
    settings = place.settings(schedule={"enable_background_warming": False})
    older = replace(domain, handlers={Slow: slow})
    async with Stoker.opened(settings, domain) as stoker, Stoker.opened(settings, older) as workers:
        stop = asyncio.Event()
        worker = asyncio.create_task(run_worker(workers, settings, stop))
        asked = await stoker.enqueue(Add(left=1, right=4))
        await settled(stoker.queue, Lane("sums"), parked=1)
        stop.set()
        await worker
        stop.clear()
        worker = asyncio.create_task(run_worker(stoker, settings, stop))
        assert (await stoker.result(asked.job_id))["sum"] == 5
        stop.set()
        await worker


def test_settings_of_a_lane_win_and_those_of_no_lane_are_refused(place: Place) -> None:
    lanes = place.settings(lanes={"sums": {"rate_per_s": 5}}).lanes.of(domain.all_lanes)
    assert (lanes["sums"].concurrency, lanes["sums"].rate_per_s) == (3, 5)
    with pytest.raises(SettingsError, match=r"lanes\.sumz: .*did you mean sums"):
        place.settings(lanes={"sumz": {"rate_per_s": 5}}).lanes.of(domain.all_lanes)


def declare(**changes: Any) -> Domain:  # noqa: ANN401 - whatever is wrong
    return replace(domain, **changes)


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        (lambda: declare(lanes=()), r"no lane 'sums'; there are: none. Add Lane\(\"sums\"\)"),
        (lambda: declare(lanes=(Lane("warm"), SUMS)), "declared twice: lane warm"),
        (lambda: declare(handlers={Relay: add}), "one of Stoker's own"),
        (lambda: declare(handlers={Add: 5}), "must be a function that takes"),
        (lambda: declare(handlers={Add: lambda: None}), r"takes \(context, job\)"),
        (lambda: declare(handlers=[add]), "must map job classes"),
        (lambda: declare(schedule=(Every("late", Unhandled(), timedelta(1)),)), "no handler for Unhandled"),
        (lambda: declare(schedule=(Cron("late", Add(left=1, right=1), "99 * * * *"),)), "minute"),
        (lambda: Lane("progress"), "and none of"),
        (lambda: Lane("Mail!"), "lower-case letters"),
        (lambda: Lane("mail", concurrency=0), "1 or more"),
        (lambda: type("Bad", (Job,), {"kind": "with space", "lane": "sums"}), "visible ASCII"),
        (lambda: type("Bad", (Job,), {"kind": "no.lane"}), "`lane` must name a lane"),
        (lambda: type("Bad", (Job,), {"kind": "a", "lane": "b", "timeout": 5}), "positive timedelta"),
        (lambda: type("Bad", (Job,), {"kind": "a", "lane": "b", "keep_result": 5}), "positive timedelta"),
    ],
)
def test_what_cannot_be_declared_says_what_to_do(mistake: Callable[[], object], said: str) -> None:
    with pytest.raises(DeclarationError, match=said):
        mistake()


async def test_two_jobs_of_one_kind_are_refused() -> None:
    class Again(Add):
        pass

    with pytest.raises(DeclarationError, match=r"declared twice: job kind sum\.add"):
        declare(handlers={Add: add, Again: add})
    assert JobState("done") is JobState.DONE
