"""An arq application on Stoker's engine: a stock client enqueues, and finds what arq would have left."""

# ruff: noqa: ANN401 - arq's functions take and give anything

from __future__ import annotations

import asyncio
import pickle
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from arq import cron
from arq.connections import ArqRedis, RedisSettings, create_pool
from arq.jobs import Job, JobStatus
from arq.worker import JobExecutionFailed, Retry, Worker, func
from sqlalchemy import text

from stoker import Domain, Stoker
from stoker.arq import from_json, to_json
from stoker.embedded import Embedded
from stoker.errors import BadRequest, DeclarationError, SettingsError, UnknownJob
from stoker.handlers.deliver import deliver_all, reset_lost
from stoker.operations import dead, jobs, lanes
from stoker.operations.audit import local_actor
from stoker.operations.dead import WhichDead
from stoker.testing import assert_enqueued, drain, enqueued
from stoker.worker.arq.part import ArqPart, check_same_redis
from stoker.worker.engine.claims import Claims
from stoker.worker.engine.upkeep import Upkeep
from stoker.worker.process import run_worker
from tests.support.engine_stage import eventually
from tests.support.place import Place

WAIT_S = 30


class Written:
    """What functions and hooks have noted."""

    def __init__(self) -> None:
        self.notes: list[Any] = []


async def add(ctx: dict[Any, Any], left: int, *, right: int = 0) -> int:
    ctx["written"].notes.append((ctx["job_id"], ctx["job_try"]))
    return left + right


async def fail(ctx: dict[Any, Any]) -> None:  # noqa: ARG001 - arq's signature
    raise ValueError("no such order")


async def later(ctx: dict[Any, Any]) -> Any:
    ctx["written"].notes.append(datetime.now(UTC))
    if ctx["job_try"] < 3:
        raise Retry(defer=timedelta(milliseconds=300))
    return ctx["score"] / 1000


async def hold(ctx: dict[Any, Any]) -> None:
    ctx["written"].notes.append("held")
    await asyncio.Event().wait()


async def nested(ctx: dict[Any, Any]) -> Any:
    return (await ctx["redis"].enqueue_job("add", 40, right=2)).job_id


FUNCTIONS = [add, fail, func(later, max_tries=5), func(hold, timeout=60), nested]


def application(place: Place, **more: Any) -> tuple[Domain, dict[str, Any], Written]:
    """A domain that has nothing but an arq application; `ctx` holds what its functions note."""
    written = Written()
    settings = {
        "functions": FUNCTIONS,
        "queue_name": f"{place.prefix}:jobs",
        "ctx": {"written": written},
        "poll_delay": 0.1,
        **more,
    }
    domain = Domain(name="moved", scopes=(), views=(), rules=(), schedule=(), arq=settings)
    return domain, settings, written


@asynccontextmanager
async def client(place: Place, **more: Any) -> AsyncIterator[ArqRedis]:
    """A stock client of arq."""
    options = {"job_serializer": to_json, "job_deserializer": from_json, **more}
    settings = RedisSettings.from_dsn(place.queue_url)
    made = await create_pool(settings, default_queue_name=f"{place.prefix}:jobs", **options)
    yield made
    await made.aclose(close_connection_pool=True)


@asynccontextmanager
async def worker(place: Place, domain: Domain, **tables: Any) -> AsyncIterator[Stoker]:
    """With a worker of the domain."""
    settings, stop = place.settings(**tables), asyncio.Event()
    async with Stoker.opened(settings, domain) as stoker:
        working = asyncio.create_task(run_worker(stoker, settings, stop))
        try:
            yield stoker
        finally:
            stop.set()
            await working


async def asked(redis: ArqRedis, name: str, *args: Any, **more: Any) -> Job:
    job = await redis.enqueue_job(name, *args, **more)
    assert job is not None
    return job


async def letters(stoker: Stoker) -> list[Any]:
    async with stoker.session() as session:
        found = await session.execute(
            text("SELECT job_id, kind, reason, payload, error FROM stoker.dead_jobs ORDER BY id")
        )
        return list(found.all())


async def test_a_stock_client_gets_results_status_and_info(place: Place) -> None:
    domain, _, written = application(place)
    async with client(place) as redis, worker(place, domain):
        job = await asked(redis, "add", 1, right=2)
        assert await job.result(WAIT_S, poll_delay=0.05) == 3
        assert await job.status() == JobStatus.complete
        info = await job.result_info()
        assert info is not None
        assert (info.function, info.kwargs, info.job_try, info.success) == ("add", {"right": 2}, 1, True)
        assert info.queue_name == f"{place.prefix}:jobs"
        assert 3_500_000 < await redis.pttl(f"arq:result:{job.job_id}") <= 3_600_000
        assert written.notes == [(job.job_id, 1)]
        inner = await (await asked(redis, "nested")).result(WAIT_S, poll_delay=0.05)
        assert (
            await Job(inner, redis, redis.default_queue_name, from_json).result(WAIT_S, poll_delay=0.05) == 42
        )


async def test_a_failed_job_tells_its_client_and_leaves_a_dead_letter_that_can_be_run_again(
    place: Place,
) -> None:
    domain, _, _ = application(place)
    async with client(place) as redis, worker(place, domain) as stoker:
        job = await asked(redis, "fail")
        with pytest.raises(JobExecutionFailed, match="ValueError: no such order"):
            await job.result(WAIT_S, poll_delay=0.05)
        (letter,) = await letters(stoker)
        assert letter == (
            job.job_id,
            "fail",
            "failed",
            {"args": [], "kwargs": {}},
            "ValueError: no such order",
        )
        retried = await dead.retry(stoker, local_actor(), WhichDead(id=(await one_letter(stoker)).id))
        assert (retried.retried, retried.unreadable) == (1, 0)
        await eventually(lambda: has_letters(stoker, 1))
        assert (await letters(stoker))[0].job_id != job.job_id, "a new job, which has failed again"


async def test_retry_waits_exactly_as_long_as_it_says_and_uses_a_try(place: Place) -> None:
    domain, _, written = application(place)
    async with client(place) as redis, worker(place, domain):
        job = await asked(redis, "later")
        await job.result(WAIT_S, poll_delay=0.05)
        first, second, third = written.notes
        for one, other in ((first, second), (second, third)):
            assert timedelta(milliseconds=295) < other - one < timedelta(seconds=5)
        info = await job.result_info()
        assert info is not None
        assert info.job_try == 3


async def test_the_last_try_and_a_number_that_the_client_asked_for(place: Place) -> None:
    async def never(ctx: dict[Any, Any]) -> None:
        written.notes.append(ctx["job_try"])
        raise Retry

    domain, _, written = application(place, functions=[func(never, name="never", max_tries=4)])
    async with client(place) as redis, Stoker.opened(place.settings(), domain) as stoker:
        job = await asked(redis, "never", _job_try=3)
        await drain(stoker, raises=False, later=True)
        with pytest.raises(JobExecutionFailed, match="max 4 retries exceeded"):
            await job.result(WAIT_S)
        assert written.notes == [3, 4]
        assert [one.reason for one in await letters(stoker)] == ["exhausted"]


async def test_a_deferred_job_begins_when_it_is_due(place: Place) -> None:
    domain, _, written = application(place)
    async with client(place) as redis, worker(place, domain):
        job = await asked(redis, "later", _defer_by=0.4, _job_try=3)
        assert await job.status() == JobStatus.deferred
        due = await job.result(WAIT_S, poll_delay=0.05)
        assert 0 <= written.notes[0].timestamp() - due < 5


async def test_an_abort_ends_a_job_that_runs_and_one_that_waits(place: Place) -> None:
    domain, _, written = application(place, allow_abort_jobs=True, max_jobs=1)
    async with client(place) as redis, worker(place, domain) as stoker:
        running = await asked(redis, "hold")
        waiting = await asked(redis, "add", 1, _defer_by=3600)
        await eventually(lambda: is_true(written.notes == ["held"]))
        assert await running.abort(timeout=WAIT_S, poll_delay=0.05)
        assert await waiting.abort(timeout=WAIT_S, poll_delay=0.05)
        assert await redis.zcard(redis.default_queue_name) == 0
        assert await letters(stoker) == []


async def test_a_job_of_an_unknown_function_waits_for_a_release_that_has_it(place: Place) -> None:
    old, _, _ = application(place, functions=[fail])
    new, _, _ = application(place)
    async with client(place) as redis:
        job = await asked(redis, "add", 1)
        async with worker(place, old) as stoker:
            await eventually(lambda: is_parked(redis))
        assert await job.result_info() is None
        async with worker(place, new) as stoker:
            assert await job.result(WAIT_S, poll_delay=0.05) == 1
            assert await letters(stoker) == []


async def test_a_job_that_was_running_when_its_worker_died_runs_again(place: Place) -> None:
    domain, _, written = application(place)
    async with client(place) as redis:
        job = await asked(redis, "add", 1)
        lane = str(domain.all_lanes[-1])
        async with Stoker.opened(place.settings(), domain) as stoker:
            dead_one = Claims(stoker.queue.connection, stoker.queue.settings, (lane,), life_s=0.1)
            assert [one.job_id for one in (await dead_one.claim(lane, 1)).claims] == [job.job_id]
        assert await job.status() == JobStatus.in_progress
        async with worker(place, domain):
            assert await job.result(WAIT_S, poll_delay=0.05) == 1
        assert written.notes == [(job.job_id, 1)], "a death uses no try"


async def test_a_job_that_a_stop_cuts_off_runs_again_and_loses_no_try(place: Place) -> None:
    domain, _, written = application(place)
    async with client(place) as redis:
        job = await asked(redis, "hold")
        async with worker(place, domain, worker={"stop_deadline_s": 0.1}):
            await eventually(lambda: is_true(written.notes == ["held"]))
        assert await job.status() == JobStatus.queued
        assert not await redis.exists(f"arq:retry:{job.job_id}")


async def test_a_stock_worker_beside_ours_runs_nothing_twice_and_loses_nothing(place: Place) -> None:
    begun: list[str] = []

    async def both(ctx: dict[Any, Any], number: int) -> int:
        begun.append(ctx["job_id"])
        await asyncio.sleep(0.01)
        return number

    domain, settings, _ = application(place, functions=[func(both, name="both")], max_jobs=5)
    async with client(place) as redis, client(place) as theirs, worker(place, domain):
        stock = Worker(
            settings["functions"],
            redis_pool=theirs,
            queue_name=settings["queue_name"],
            max_jobs=5,
            poll_delay=0.02,
            handle_signals=False,
            job_serializer=to_json,
            job_deserializer=from_json,
        )
        working = asyncio.create_task(stock.async_run())
        asked_for = [await asked(redis, "both", number) for number in range(200)]
        assert [await job.result(WAIT_S, poll_delay=0.02) for job in asked_for] == list(range(200))
        await eventually(lambda: is_empty(redis))
        assert 0 < stock.jobs_complete < 200
        working.cancel()
        await asyncio.wait({working})
    assert sorted(begun) == sorted(job.job_id for job in asked_for)


async def test_operators_see_its_lane_and_its_jobs(place: Place) -> None:
    domain, _, written = application(place)
    lane = f"{place.prefix}:jobs"
    async with client(place) as redis, worker(place, domain) as stoker:
        running = await asked(redis, "hold")
        later = await asked(redis, "add", 1, right=2, _defer_by=3600)
        await eventually(lambda: is_true(written.notes == ["held"]))
        for state, job, kind in (("running", running, "hold"), ("deferred", later, "add")):
            choice = jobs.Choice.model_validate({"lane": lane, "state": state})
            (live,) = (await jobs.listing(stoker, choice)).live
            assert (live.job_id, live.kind, live.lane) == (job.job_id, kind, lane)
        detail = await jobs.detail(stoker, later.job_id)
        assert detail.arguments == {"args": [1], "kwargs": {"right": 2}}
        assert (await lanes.listing(stoker)).lanes[lane].running == 1
        assert (await jobs.cancel(stoker, local_actor(), running.job_id)).answer == "cancelling"
        with pytest.raises(asyncio.CancelledError):
            await running.result(WAIT_S, poll_delay=0.05)
        new = await jobs.enqueue(stoker, local_actor(), "add", {"args": [40], "kwargs": {"right": 2}})
        assert await Job(new.job_id, redis, lane, from_json).result(WAIT_S, poll_delay=0.05) == 42
        assert [(one.kind, one.lane) for one in await enqueued(stoker)] == [("add", lane)]


async def test_a_function_that_a_transaction_asks_for_runs_once_after_the_commit(place: Place) -> None:
    domain, _, written = application(place)
    async with client(place) as redis, Stoker.opened(place.settings(), domain) as stoker:
        async with stoker.session() as session:
            stoker.enqueue_in(session, domain.arq_job("add", 1, right=1))
            await session.rollback()
        async with stoker.session() as session, session.begin():
            job_id = stoker.enqueue_in(session, domain.arq_job("add", 40, right=2))
        await drain(stoker)
        assert await Job(job_id, redis, redis.default_queue_name, from_json).result(WAIT_S) == 42
        async with stoker.session() as session, session.begin():  # as if no worker had marked it
            await session.execute(text("UPDATE stoker.job_requests SET delivered_at = NULL"))
        assert (await drain(stoker)).ran == ()
        assert written.notes == [(job_id, 1)]


@pytest.mark.parametrize("serializer", [None, pickle])
async def test_a_request_that_the_queue_has_lost_is_delivered_again_as_arqs_clients_write_it(
    place: Place, servers: Embedded, serializer: Any
) -> None:
    assert servers.owned
    more = {"job_serializer": serializer.dumps, "job_deserializer": serializer.loads} if serializer else {}
    domain, _, written = application(place, **more)
    async with Stoker.opened(place.settings(), domain) as stoker:
        async with stoker.session() as session, session.begin():
            job_id = stoker.enqueue_in(session, domain.arq_job("add", (40,), right=2))
        await deliver_all(stoker)
        first: Any = await stoker.queue.redis.get(f"arq:job:{job_id}")
        redis: Any = stoker.queue.redis
        await redis.flushall()
        assert await reset_lost(stoker) == 1
        await deliver_all(stoker)
        again: Any = await stoker.queue.redis.get(f"arq:job:{job_id}")
        read: Any = domain.arq_application
        assert read.read(first)[:4] == read.read(again)[:4] == ("add", [[40]], {"right": 2}, 1)
    assert not written.notes


async def test_a_call_that_a_transaction_cannot_ask_for_is_refused(place: Place) -> None:
    domain, _, _ = application(place)
    with pytest.raises(UnknownJob, match="no function 'sub'; there are: add, fail"):
        domain.arq_job("sub")
    async with Stoker.opened(place.settings(), domain) as stoker, stoker.session() as session:
        with pytest.raises(BadRequest, match="Postgres keeps its arguments as JSON"):
            stoker.enqueue_in(session, domain.arq_job("add", Decimal(1)))
        with pytest.raises(BadRequest, match="leave out job_id"):
            stoker.enqueue_in(session, domain.job_types["add"].model_validate({"job_id": "mine"}))


async def test_drain_runs_the_functions_of_an_arq_application(place: Place) -> None:
    domain, _, written = application(place)
    async with client(place) as redis, Stoker.opened(place.settings(), domain) as stoker:
        nested_job, failing = await asked(redis, "nested"), await asked(redis, "fail")
        waiting = await asked(redis, "later")
        assert (await assert_enqueued(stoker, domain.job_types["later"])) == domain.arq_job("later")
        drained = await drain(stoker, raises=False, later=True)
        # Jobs of one millisecond run in any order.
        assert sorted((one.kind, one.outcome) for one in drained.ran) == [
            ("add", "done"),
            ("fail", "dead"),
            ("later", "done"),
            ("later", "retried"),
            ("later", "retried"),
            ("nested", "done"),
        ]
        assert [str(one.error) for one in drained.ran if one.error] == ["no such order"]
        assert [one.job for one in drained.ran if one.kind == "add"] == [domain.arq_job("add", 40, right=2)]
        inner = await nested_job.result(WAIT_S)
        assert await Job(inner, redis, redis.default_queue_name, from_json).result(WAIT_S) == 42
        with pytest.raises(JobExecutionFailed, match="no such order"):
            await failing.result(WAIT_S)
        assert await waiting.status() == JobStatus.complete
        assert len(written.notes) == 4
        await asked(redis, "fail")
        with pytest.raises(ValueError, match="no such order"):
            await drain(stoker)


@pytest.mark.parametrize(
    ("kept", "life_ms"),
    [({"keep_result": 0}, -2), ({"keep_result": 60}, 60_000), ({"keep_result_forever": True}, -1)],
)
async def test_results_are_kept_as_long_as_the_function_says(
    place: Place, kept: dict[str, Any], life_ms: int
) -> None:
    domain, _, _ = application(place, functions=[func(add, name="add", **kept)])
    async with client(place) as redis, Stoker.opened(place.settings(), domain) as stoker:
        job = await asked(redis, "add", 1)
        await drain(stoker)
        found = await redis.pttl(f"arq:result:{job.job_id}")
        assert found == life_ms if life_ms < 0 else life_ms - 30_000 < found <= life_ms


async def test_what_is_no_job_of_arq_is_a_dead_letter_and_stops_nothing(place: Place) -> None:
    whole: dict[str, Any] = {"t": None, "f": "add", "a": [1], "k": {}, "et": 1}
    wrong: list[dict[str, Any]] = [
        {"f": 5},
        {"a": 5},
        {"k": []},
        {"t": "x"},
        {"t": -1},
        {"t": 10**9},
        {"et": 10**30},
        {"et": None},
    ]
    raw = [b"", b"junk", b"[]", b"[" * 5000, *(to_json(whole | one) for one in wrong)]
    domain, _, _ = application(place)
    async with client(place) as redis, Stoker.opened(place.settings(), domain) as stoker:
        for number, payload in enumerate(raw):
            await redis.set(f"arq:job:{place.prefix}-{number}", payload)
            await redis.zadd(redis.default_queue_name, {f"{place.prefix}-{number}": 1000})
        job = await asked(redis, "add", 1)
        await drain(stoker, raises=False)
        assert [one.reason for one in await letters(stoker)] == ["undecodable"] * len(raw)
        assert await job.result(WAIT_S) == 1


async def test_hooks_get_the_context_and_none_of_them_ends_the_worker(place: Place) -> None:
    async def noted(name: str, ctx: dict[Any, Any]) -> None:
        written.notes.append((name, ctx.get("job_id"), ctx.get("opened")))

    async def on_startup(ctx: dict[Any, Any]) -> None:
        await ctx["redis"].ping()
        ctx["opened"] = 1

    async def on_job_start(ctx: dict[Any, Any]) -> None:
        ctx["opened"] += 1
        if ctx["job_id"] == "unlucky":
            raise RuntimeError("no session")

    async def on_job_end(ctx: dict[Any, Any]) -> None:
        await noted("end", ctx)
        raise RuntimeError("this hook is broken")

    async def after_job_end(ctx: dict[Any, Any]) -> None:
        kept = await ctx["redis"].exists(f"arq:result:{ctx['job_id']}")
        await noted(f"after {kept}", ctx)
        raise RuntimeError("this one too")

    async def on_shutdown(ctx: dict[Any, Any]) -> None:
        await noted("shutdown", ctx)

    hooks = (on_startup, on_job_start, on_job_end, after_job_end, on_shutdown)
    domain, _, written = application(place, **{hook.__name__: hook for hook in hooks})
    async with client(place) as redis, worker(place, domain):
        unlucky = await asked(redis, "add", 1, _job_id="unlucky")
        with pytest.raises(JobExecutionFailed, match="no session"):
            await unlucky.result(WAIT_S, poll_delay=0.05)
        job = await asked(redis, "add", 1, _job_id="lucky")
        assert await job.result(WAIT_S, poll_delay=0.05) == 1
        await eventually(lambda: is_true(len(written.notes) == 5))
    assert written.notes == [
        ("end", "unlucky", 2),
        ("after 1", "unlucky", 2),
        ("lucky", 1),
        ("end", "lucky", 2),
        ("after 1", "lucky", 2),
        ("shutdown", None, 1),
    ]


async def test_pickles_are_read_only_where_the_application_says_so(place: Place) -> None:
    strict, _, _ = application(place)
    pickled = {"job_serializer": pickle.dumps, "job_deserializer": pickle.loads}
    consenting, _, _ = application(place, **pickled)
    async with client(place, job_serializer=None, job_deserializer=None) as redis:
        async with Stoker.opened(place.settings(), strict) as stoker:
            await asked(redis, "add", 1)
            await drain(stoker, raises=False)
            (letter,) = await letters(stoker)
            assert letter.reason == "undecodable"
        async with worker(place, consenting):
            job = await asked(redis, "add", Decimal(1), right=2)
            assert await job.result(WAIT_S, poll_delay=0.05) == Decimal(3)
        async with Stoker.opened(place.settings(), consenting) as stoker:
            kept = (await jobs.detail(stoker, job.job_id)).arguments
            assert kept == {"args": ["Decimal('1')"], "kwargs": {"right": 2}, "job_id": None}


async def test_a_cron_job_runs_once_for_each_slot_over_two_workers(place: Place) -> None:
    async def tick(ctx: dict[Any, Any]) -> None:
        written.notes.append(ctx["job_id"])

    domain, _, written = application(place, cron_jobs=[cron(tick, name="tick", second=set(range(60)))])
    async with client(place) as redis:
        async with worker(place, domain), worker(place, domain):
            await eventually(lambda: is_true(len(written.notes) >= 3))
        first = written.notes[0]
        assert await redis.get(f"arq:in-progress:{first}") == b"1", "no stock worker runs the slot again"
        assert await redis.enqueue_job("tick", _job_id=first) is None, "nor does it enqueue it again"
    slots = [int(job_id.removeprefix("tick:")) for job_id in written.notes]
    assert len(set(slots)) == len(slots)
    assert {slot % 1000 for slot in slots} == {123}, "arq's own time within the second"


async def test_run_at_startup_runs_once_over_workers_that_start_together(place: Place) -> None:
    async def warm_up(ctx: dict[Any, Any]) -> None:
        written.notes.append(ctx["job_id"])

    domain, _, written = application(
        place, cron_jobs=[cron(warm_up, name="warm_up", month=1, run_at_startup=True)]
    )
    async with client(place) as redis, worker(place, domain), worker(place, domain):
        await eventually(lambda: is_true(bool(written.notes)))
        await eventually(lambda: is_empty(redis))
    assert len(set(written.notes)) == len(written.notes) <= 2, "at most one for each minute"


async def test_the_health_key_is_written_and_is_gone_after_a_stop(place: Place) -> None:
    domain, _, _ = application(place)
    async with client(place) as redis:
        async with worker(place, domain):
            key = f"{redis.default_queue_name}:health-check"
            await eventually(lambda: exists(redis, key))
            assert b"j_complete=0 j_failed=0 j_retried=0 j_ongoing=0 queued=0" in await redis.get(key)
        assert not await redis.exists(key)
        async with worker(place, domain):
            await eventually(lambda: exists(redis, key))
            await redis.set(key, "of a worker that goes on")
        assert await redis.get(key) == b"of a worker that goes on"


async def test_a_job_of_a_client_that_rings_no_bell_does_not_wait_for_upkeep(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(_: Upkeep) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(Upkeep, "run", never)
    domain, _, _ = application(place)
    async with client(place) as redis, worker(place, domain):
        await eventually(lambda: exists(redis, f"{redis.default_queue_name}:health-check"))
        assert await (await asked(redis, "add", 1)).result(WAIT_S, poll_delay=0.05) == 1


async def test_a_burst_ends_after_as_many_jobs_as_it_may_begin(place: Place) -> None:
    domain, _, written = application(place, max_burst_jobs=2)
    assert domain.arq_application is not None
    settings = place.settings()
    async with client(place) as redis:
        for number in range(5):
            await asked(redis, "add", number)
        async with Stoker.opened(settings, domain) as stoker:
            part = ArqPart(domain.arq_application, settings, burst=True)
            await run_worker(stoker, settings, asyncio.Event(), arq=part)
        assert len(written.notes) == 2
        assert await redis.zcard(redis.default_queue_name) == 3


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ("shop.WorkerSettings", "must be a WorkerSettings class"),
        ({"functions": []}, "neither functions nor cron_jobs"),
        ({"functions": [lambda ctx: ctx]}, "not a coroutine function"),
        ({"functions": [func(add, name="a b")]}, "1 to 64 visible ASCII characters"),
        ({"functions": [func(add, name="relay.v1")]}, "declared twice: job kind relay.v1"),
        ({"functions": [add], "cron_jobs": [add]}, "made with arq.cron"),
        ({"functions": [add], "on_startup": print}, "on_startup must be an async function"),
        ({"functions": [add], "queue_name": "a/b"}, "without a slash"),
        ({"functions": [add], "max_jobs": 0}, "max_jobs must be 1 or more"),
        ({"functions": [add], "redis_pool": object()}, "leave out `redis_pool`"),
    ],
)
def test_what_could_never_run_is_refused_when_the_domain_is_made(settings: Any, says: str) -> None:
    with pytest.raises(DeclarationError, match=says):
        Domain(name="moved", scopes=(), views=(), rules=(), schedule=(), arq=settings)


def test_another_redis_than_that_of_the_settings_is_refused() -> None:
    check_same_redis(RedisSettings(host="queue", port=6379, database=1), "redis://queue:6379/1")
    check_same_redis(None, "redis://queue:6379/1")
    with pytest.raises(SettingsError, match="name different servers"):
        check_same_redis(RedisSettings(host="queue", port=6379), "redis://queue:6379/1")


def test_a_queue_of_the_name_of_a_lane_is_refused(place: Place) -> None:
    domain, _, _ = application(place, queue_name=f"{place.prefix}:warm")
    assert domain.arq_application is not None
    with pytest.raises(SettingsError, match="is the name of a lane"):
        ArqPart(domain.arq_application, place.settings())


async def test_a_worker_of_other_lanes_opens_nothing_for_it_and_keeps_its_schedule(place: Place) -> None:
    async def on_startup(_: dict[Any, Any]) -> None:
        written.notes.append("opened")

    tick = cron(add, name="tick", second=set(range(60)))
    domain, _, written = application(place, on_startup=on_startup, cron_jobs=[tick])
    settings, stop = place.settings(), asyncio.Event()
    async with client(place) as redis, Stoker.opened(settings, domain) as stoker:
        working = asyncio.create_task(run_worker(stoker, settings, stop, only=("changes",)))
        await eventually(lambda: exists(redis, redis.default_queue_name))
        stop.set()
        await working
    assert written.notes == []


async def one_letter(stoker: Stoker) -> Any:
    return (await dead.listing(stoker, dead.DeadFilter(), 1)).dead[0]


async def has_letters(stoker: Stoker, number: int) -> bool:
    return len(await letters(stoker)) == number


async def is_true(found: bool) -> bool:  # noqa: FBT001 - a condition
    return found


async def is_parked(redis: ArqRedis) -> bool:
    return bool(await redis.zcard(f"{redis.default_queue_name}:parked"))


async def is_empty(redis: ArqRedis) -> bool:
    return not await redis.zcard(redis.default_queue_name)


async def exists(redis: ArqRedis, key: str) -> bool:
    return bool(await redis.exists(key))
