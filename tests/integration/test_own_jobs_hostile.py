"""An application's own jobs that are declared, filled or written wrongly: refused early, or reported."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from threading import Event as Flag
from typing import Any

import pytest
from pydantic import Field, computed_field
from sqlalchemy import text

from stoker import Every, Job, JobContext, Lane, RetryPolicy, Stoker
from stoker.errors import BadRequest, DeclarationError, Defer, JobFailed
from stoker.handlers import deliver, threads
from stoker.handlers.deliver import deliver_all
from stoker.testing import assert_enqueued, drain
from stoker.worker.process import run_worker
from tests.library import domain as library
from tests.support.place import Place

ONCE = RetryPolicy(attempts=1)


class Given(Job):
    """Gives its argument back."""

    kind = "hostile.given"
    lane = "odd"
    keep_result = timedelta(minutes=1)
    value: Any = None


class Numbers(Given):
    kind = "hostile.numbers"
    numbers: list[int]


class Amount(Given):
    kind = "hostile.amount"
    amount: float


class Aliased(Given):
    kind = "hostile.aliased"
    name: int = Field(alias="other")


class Computed(Given):
    kind = "hostile.computed"

    @computed_field
    def double(self) -> int:
        return 2


class Keyed(Given):
    kind = "hostile.keyed"

    def coalesce_key(self) -> str:
        return str(self.value)


class KeyedToo(Keyed):
    kind = "hostile.keyed_too"


class BadKey(Given):
    kind = "hostile.bad_key"

    def coalesce_key(self) -> str:
        return 5  # type: ignore[return-value] # the mistake


class Plain(Given):
    kind = "hostile.plain"
    timeout = timedelta(seconds=0.2)
    retry = ONCE


class Raises(Given):
    kind = "hostile.raises"
    retry = ONCE


class Wrapped(Given):
    kind = "hostile.wrapped"


async def given(_: JobContext, job: Given) -> object:
    return job.value


released = Flag()
RAISED: dict[str, type[BaseException]] = {
    one.__name__: one
    for one in (StopIteration, SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError)
}


def plain(_: JobContext, job: Plain) -> object:
    if job.value == "hang":
        released.wait()
    if job.value in RAISED:
        raise RAISED[job.value]
    return job.value


async def raises(context: JobContext, job: Raises) -> object:
    if job.value == "Defer":
        if context.attempt == 1 and not context.resources:
            context.resources.append("deferred")
            raise Defer(timedelta(0))
        return "after a defer"
    raise RAISED[job.value]


def undecorated(handler: Callable[..., Awaitable[object]]) -> Callable[..., object]:
    """A decorator that does not say what it wraps."""
    return lambda *arguments: handler(*arguments)  # noqa: PLW0108 - a plain function is the point


@asynccontextmanager
async def noting(_: Stoker) -> AsyncIterator[list[str]]:
    yield []


handlers: dict[type[Job], Any] = {
    **dict.fromkeys((Given, Numbers, Amount, Aliased, Computed, Keyed, KeyedToo, BadKey), given),
    Plain: plain,
    Raises: raises,
    Wrapped: undecorated(given),
}
domain = replace(library, lanes=(Lane("odd", 4),), handlers=handlers, lifespan=noting)


@pytest.fixture
async def opened(place: Place) -> AsyncIterator[Stoker]:
    async with Stoker.opened(place.settings(), domain) as stoker:
        yield stoker


@pytest.fixture
async def working(opened: Stoker, place: Place) -> AsyncIterator[Stoker]:
    """The same, and a worker beside it."""
    stop = asyncio.Event()
    settings = place.settings(schedule={"enable_background_warming": False})
    async with Stoker.opened(settings, domain) as stoker:
        worker = asyncio.create_task(run_worker(stoker, settings, stop))
        try:
            yield opened
        finally:
            released.set()
            stop.set()
            await worker
            released.clear()


def deep(levels: int) -> object:
    found: object = 1
    for _ in range(levels):
        found = [found]
    return found


@pytest.mark.parametrize(
    ("job", "said"),
    [
        (Amount(amount=float("nan")), "no JSON"),
        (Amount(amount=float("inf")), "no JSON"),
        (Given(value=deep(150)), "nested too deep"),
        (Given(value=object()), "no JSON"),
        (Given(value=b"\xff"), "no JSON"),
        (Given(value="\ud800"), "no JSON"),
        (Given(value=10**5000), "no JSON"),
        (Aliased(other=1), "could not read it: other"),
        (Computed(), "could not read it: double"),
        (BadKey(), "must give a text or None, not 5"),
    ],
    ids=lambda one: one.kind if isinstance(one, Job) else str(one),
)
async def test_a_job_that_no_worker_could_read_is_refused_and_the_transaction_goes_on(
    opened: Stoker, job: Job, said: str
) -> None:
    with pytest.raises(BadRequest, match=said):
        await opened.enqueue(job)
    async with opened.session() as session, session.begin():
        with pytest.raises(BadRequest, match=said):
            opened.enqueue_in(session, job)
        opened.enqueue_in(session, Given(value="kept"))
    await assert_enqueued(opened, Given, value="kept")
    assert [run.outcome for run in (await drain(opened)).ran] == ["done"]


async def test_a_nul_which_postgres_does_not_store_is_refused_in_a_transaction_only(opened: Stoker) -> None:
    await opened.enqueue(Given(value="a\x00b"))
    async with opened.session() as session, session.begin():
        for value in ("a\x00b", "\\\x00", {"\x00": 1}):
            with pytest.raises(BadRequest, match="NUL"):
                opened.enqueue_in(session, Given(value=value))
        for value in ("a\\u0000b", "\\\\u0000"):
            opened.enqueue_in(session, Given(value=value))
    assert await deliver_all(opened) == 2


async def test_fields_that_cannot_be_hashed_and_equal_values_come_as_they_are(opened: Stoker) -> None:
    values = (1, True, 1.0, Decimal("1.0"), Decimal("1.00"))
    asked = await opened.enqueue(Numbers(numbers=[1, 2], value={"a": [1]}))
    equal = await opened.enqueue_many([Given(value=value) for value in values])
    await drain(opened)
    assert await opened.result(asked.job_id) == {"a": [1]}
    for value, one in zip(values, equal, strict=True):
        found = await opened.result(one.job_id)
        assert json.dumps(found) == json.dumps(str(value) if isinstance(value, Decimal) else value)


async def test_jobs_of_two_kinds_do_not_coalesce_although_their_keys_are_the_same(opened: Stoker) -> None:
    first, second, third = await opened.enqueue_many([Keyed(value=7), KeyedToo(value=7), Keyed(value=7)])
    assert second.answer == "enqueued"
    assert len({first.job_id, second.job_id}) == 2
    assert third.job_id == first.job_id


async def test_large_requests_do_not_keep_back_the_others(opened: Stoker) -> None:
    opened._parts.deliverer.soon = lambda rows: None  # type: ignore[method-assign]  # noqa: ARG005
    async with opened.session() as session, session.begin():
        asked = [opened.enqueue_in(session, Given(value="x" * 900_000)) for _ in range(12)]
        asked.append(opened.enqueue_in(session, Given(value="small")))
    name = f"{opened.queue.settings.prefix}:odd"
    calls = []
    deliver_call = opened.queue.deliver

    async def counted(requests: Any) -> None:  # noqa: ANN401 - as the queue takes them
        calls.append(sum(len(one.payload) for one in requests))
        await deliver_call(requests)

    opened.queue.deliver = counted  # type: ignore[method-assign]
    assert await deliver_all(opened) == 13
    assert max(calls) < deliver.BYTES + 1_000_000
    assert [one.decode() for one in await opened.queue.redis.zrange(name, 0, -1)] == asked


async def test_a_request_that_postgres_made_longer_is_delivered_all_the_same(opened: Stoker) -> None:
    """As jsonb a number has all its digits."""
    async with opened.session() as session, session.begin():
        job_id = opened.enqueue_in(session, Given(value=[1e300] * 5_000))
    async with opened.engine.connect() as connection:
        query = text("SELECT octet_length(arguments::text) FROM stoker.job_requests")
        assert await connection.scalar(query) > 1_000_000
    assert await deliver_all(opened) == 1
    assert await opened.queue.is_open(job_id)


async def test_plain_functions_that_hang_starve_no_other_and_are_counted(
    working: Stoker, caplog: pytest.LogCaptureFixture
) -> None:
    hanging = await working.enqueue_many([Plain(value="hang")] * 24)
    for one in hanging:
        with pytest.raises(JobFailed, match="ran for more than"):
            await working.result(one.job_id)
    assert await working.result((await working.enqueue(Plain(value="free"))).job_id) == "free"
    counted = [getattr(one, "left_behind", 0) for one in caplog.records]
    assert max(counted) == 24


async def test_threads_left_behind_are_told_to_who_restarts_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(threads, "MOST_LEFT", 2)
    hang, pool = Flag(), threads.Threads()
    calls = [asyncio.create_task(pool.call(hang.wait)) for _ in range(2)]
    await asyncio.sleep(0)
    assert pool.stuck() == []
    for call in calls:
        call.cancel()
    await asyncio.wait(calls)
    assert pool.stuck() == ["2 threads of plain handlers that were left behind"]
    hang.set()
    async with asyncio.timeout(10):
        while pool.stuck():  # noqa: ASYNC110 - threads ring no event
            await asyncio.sleep(0.01)


async def test_whatever_a_handler_raises_is_its_own_failure(working: Stoker) -> None:
    # KeyboardInterrupt in the event loop is the operator's, and ends the worker.
    jobs = [Plain(value=one) for one in RAISED] + [
        Raises(value=one) for one in RAISED if one != "KeyboardInterrupt"
    ]
    for job in jobs:
        with pytest.raises(JobFailed):
            await working.result((await working.enqueue(job)).job_id)
        assert await working.result((await working.enqueue(Given(value="alive"))).job_id) == "alive", job


async def test_a_handler_may_ask_to_run_again(opened: Stoker) -> None:
    asked = await opened.enqueue(Raises(value="Defer"))
    assert [one.outcome for one in (await drain(opened, later=True)).ran] == ["deferred", "done"]
    assert await opened.result(asked.job_id) == "after a defer"


async def test_an_async_handler_behind_a_plain_decorator_runs(opened: Stoker) -> None:
    asked = await opened.enqueue(Wrapped(value=3))
    await drain(opened)
    assert await opened.result(asked.job_id) == 3


async def test_a_waiting_job_that_was_cancelled_says_so(opened: Stoker) -> None:
    asked = await opened.enqueue(Given(), delay=timedelta(hours=1))
    await opened.cancel(asked.job_id)
    with pytest.raises(JobFailed, match="cancelled"):
        await opened.result(asked.job_id)


def generator(_: JobContext, __: Job) -> Iterator[int]:
    yield 1


async def async_generator(_: JobContext, __: Job) -> AsyncIterator[int]:
    yield 1


def not_async(_: JobContext, __: Job, call: Callable[[], Awaitable[object]]) -> Awaitable[object]:
    return call()


async def no_context_manager(_: Stoker) -> AsyncIterator[int]:
    yield 1


def declared(**fields: object) -> type[Job]:
    return type("Bad", (Given,), {"kind": "hostile.bad", **fields})


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        (lambda: replace(domain, handlers={Given: generator}), "handler of Given is a generator"),
        (lambda: replace(domain, handlers={Given: async_generator}), "handler of Given is a generator"),
        (lambda: replace(domain, around=(plain,)), r"takes \(context, job, call\)"),  # type: ignore[arg-type]
        (lambda: replace(domain, around=(not_async,)), "async def"),
        (lambda: replace(domain, around=plain), "around must be a tuple"),  # type: ignore[arg-type]
        (lambda: replace(domain, lifespan=no_context_manager), "@asynccontextmanager"),  # type: ignore[arg-type]
        (lambda: replace(domain, lifespan=5), "lifespan must be a function"),  # type: ignore[arg-type]
        (lambda: RetryPolicy(attempts=0), "attempts must be 1 or more"),
        (lambda: RetryPolicy(errors=[OSError]), r"a tuple of exceptions, such as \(OSError,\)"),  # type: ignore[arg-type]
        (lambda: RetryPolicy(first=5), "first must be a positive timedelta"),  # type: ignore[arg-type]
        (
            lambda: RetryPolicy(first=timedelta(minutes=6)),
            r"first \(0:06:00\) must not be longer than longest",
        ),
        (lambda: declared(one_at_a_time=True), "needs a coalesce_key"),
        (lambda: Every("a", Given(), timedelta(1), late="all"), r"LatePolicy\.ALL"),  # type: ignore[arg-type]
    ],
)
def test_what_would_fail_later_is_refused_where_it_is_declared(
    mistake: Callable[[], object], said: str
) -> None:
    with pytest.raises(DeclarationError, match=said):
        mistake()


async def test_a_job_that_dies_before_it_ran_says_so(opened: Stoker) -> None:
    """Its payload is in the queue already: an older release wrote it, or a stranger."""
    unreadable = await opened.enqueue(Numbers(numbers=[1]))
    broken = await opened.enqueue(Given(value="broken"))
    redis: Any = opened.queue.redis
    payload = await redis.get(f"arq:job:{unreadable.job_id}")
    await redis.set(f"arq:job:{unreadable.job_id}", payload.replace(b'"numbers":[1]', b'"numbers":"one"'))
    await redis.set(f"arq:job:{broken.job_id}", b"{")
    assert [one.outcome for one in (await drain(opened, raises=False)).ran] == ["dead", "dead"]
    for asked, said in ((unreadable, "numbers"), (broken, "not arq's job")):
        with pytest.raises(JobFailed, match=said):
            await opened.result(asked.job_id)
