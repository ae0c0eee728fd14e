"""What is wrong with a job is refused where it is made, with a sentence; in the queue it is a dead letter."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from stoker import Cron, Domain, Every, Job, JobContext, Lane, Stoker
from stoker.errors import BadRequest, DeclarationError, InvalidResult, StokerError, UnknownJob
from stoker.jobs import Prune
from stoker.operations import jobs
from stoker.operations.audit import local_actor
from stoker.queue.answers import Answer, Enqueued
from stoker.testing import assert_enqueued, drain, enqueued
from stoker.worker.engine.dead_letters import DeadLetters, Which
from tests.library import domain as library
from tests.support.place import Place

Refused = Callable[[Stoker], Awaitable[object] | object]


class Bill(Job):
    kind = "bill.write"
    lane = "paper"
    keep_result = timedelta(minutes=1)
    order: int
    note: str = ""
    share: float | None = None


class Astray(Job):
    kind = "bill.astray"
    lane = "papers"


class Unknown(Job):
    kind = "bill.unknown"
    lane = "paper"


class Another(Job):
    kind = "bill.write"
    lane = "paper"


def write(_: JobContext, job: Bill) -> object:
    """Return what the note asks for."""
    found = {"set": {1}.intersection, "large": "x" * 1_000_001, "share": {"share": float("nan")}}
    return found.get(job.note)


domain: Domain = replace(library, lanes=(Lane("paper"),), handlers={Bill: write}, schedule=())
LARGE = Bill(order=1, note="x" * 1_000_001)
NAN = Bill(order=1, share=float("nan"))


def declared(**changes: Any) -> Refused:  # noqa: ANN401 - any field of a domain
    return lambda _: replace(domain, **changes)


def scheduled(make: Callable[[], Every | Cron]) -> Refused:
    return lambda _: replace(domain, schedule=(make(),))


def requested(job: Job) -> Refused:
    async def request(stoker: Stoker) -> None:
        async with stoker.session() as session, session.begin():
            stoker.enqueue_in(session, job)

    return request


async def made_by(make: Refused, stoker: Stoker) -> None:
    made = make(stoker)
    if isinstance(made, Awaitable):
        await made


def by_operator(kind: str, **arguments: object) -> Refused:
    return lambda stoker: jobs.enqueue(stoker, local_actor(), kind, arguments)


TABLE: dict[str, tuple[Refused, type[Exception], str]] = {
    "unknown kind, enqueued": (
        lambda stoker: stoker.enqueue(Unknown()),
        UnknownJob,
        "no handler for Unknown.*there are: bill.write",
    ),
    "unknown kind, requested": (requested(Unknown()), UnknownJob, "no handler for Unknown"),
    "unknown kind, in a batch": (
        lambda stoker: stoker.enqueue_batch([Bill(order=1), Unknown()]),
        UnknownJob,
        "no handler for Unknown",
    ),
    "unknown kind, by an operator": (
        by_operator("bill.wriet"),
        BadRequest,
        "no job .bill.wriet.; there are: bill.write",
    ),
    "unknown kind, scheduled": (
        scheduled(lambda: Every("odd", Unknown(), timedelta(1))),
        DeclarationError,
        "no handler for Unknown",
    ),
    "payload that does not fit": (lambda _: Bill.model_validate({"order": "one"}), ValidationError, "order"),
    "payload with a field too many": (
        lambda _: Bill.model_validate({"order": 1, "ordre": 1}),
        ValidationError,
        "ordre",
    ),
    "payload that does not fit, by an operator": (
        by_operator("bill.write", order="one"),
        BadRequest,
        "order",
    ),
    "lane that is not declared": (
        declared(handlers={Astray: write}),
        DeclarationError,
        r'no lane \'papers\'; there are: paper. Add Lane\("papers"\)',
    ),
    "cron that never fires": (
        scheduled(lambda: Cron("never", Bill(order=1), "0 0 30 2 *")),
        DeclarationError,
        "never comes",
    ),
    "cron that is none": (
        scheduled(lambda: Cron("never", Bill(order=1), "every day")),
        DeclarationError,
        "five|fields",
    ),
    "time zone that does not exist": (
        scheduled(lambda: Cron("odd", Bill(order=1), "0 6 * * *", timezone="Europe/Berlim")),
        DeclarationError,
        "Europe/Berlim",
    ),
    "time zone that is no text": (
        scheduled(lambda: Cron("odd", Bill(order=1), "0 6 * * *", timezone=None)),  # type: ignore[arg-type]
        DeclarationError,
        "no time zone None",
    ),
    "two jobs of one kind": (
        declared(handlers={Bill: write, Another: write}),
        DeclarationError,
        "declared twice: job kind bill.write",
    ),
    "handler for a job of Stoker's": (
        declared(handlers={Prune: write}),
        DeclarationError,
        "job Prune: 'prune.v1' is one of Stoker's own: choose another kind",
    ),
    "NaN, which JSON does not have, enqueued": (lambda stoker: stoker.enqueue(NAN), BadRequest, "no JSON"),
    "NaN, which JSON does not have, requested": (requested(NAN), BadRequest, "no JSON"),
    "due in the next century": (
        lambda stoker: stoker.enqueue(Bill(order=1), at=datetime(2099, 1, 1, tzinfo=UTC)),
        BadRequest,
        "at most 1,825; enqueue it later",
    ),
    "due in five years": (
        lambda stoker: stoker.enqueue(Bill(order=1), delay=timedelta(days=1825)),
        BadRequest,
        "begins in 1,825 days",
    ),
    "engine in place of a session": (
        lambda stoker: stoker.enqueue_in(stoker.engine, Bill(order=1)),  # type: ignore[arg-type]
        BadRequest,
        "give a session of SQLAlchemy",
    ),
    "session that was not entered": (
        lambda stoker: stoker.enqueue_in(stoker.session(), Bill(order=1)),  # type: ignore[arg-type]
        BadRequest,
        "such as that of `async with stoker.session",
    ),
    "class of jobs": (
        lambda stoker: stoker.enqueue(Bill),  # type: ignore[arg-type]
        BadRequest,
        r"enqueue a job, such as SendMail\(user_id=7\), not <class",
    ),
    "one job where a list belongs": (
        lambda stoker: stoker.enqueue_many(Bill(order=1)),  # type: ignore[arg-type]
        BadRequest,
        "enqueue a job",
    ),
    "answer of enqueue in place of an id": (
        lambda stoker: stoker.result(Enqueued("1", Answer.ENQUEUED)),  # type: ignore[arg-type]
        BadRequest,
        r"give the job's id, such as `asked\.job_id`, not Enqueued",
    ),
    "over 1 MB, enqueued": (lambda stoker: stoker.enqueue(LARGE), BadRequest, "give ids, not rows"),
    "over 1 MB, requested": (requested(LARGE), BadRequest, "give ids, not rows"),
    "over 1 MB, in a batch": (
        lambda stoker: stoker.enqueue_batch([Bill(order=1), LARGE]),
        BadRequest,
        "give ids, not rows",
    ),
}


@pytest.fixture
async def app(place: Place) -> AsyncIterator[Stoker]:
    async with Stoker.opened(place.settings(), domain) as stoker:
        yield stoker


@pytest.mark.parametrize("what", TABLE)
async def test_it_is_refused_where_it_is_made_and_nothing_is_enqueued(app: Stoker, what: str) -> None:
    make, error, said = TABLE[what]
    with pytest.raises(error, match=said):
        await made_by(make, app)
    assert await enqueued(app) == []


@pytest.mark.parametrize(
    ("note", "said"),
    [
        ("set", "what the handler returned is no JSON"),
        ("share", "what the handler returned is no JSON"),
        ("large", "over 1,000,000"),
    ],
)
async def test_a_result_that_cannot_be_kept_fails_its_job_for_good(app: Stoker, note: str, said: str) -> None:
    asked = await app.enqueue(Bill(order=1, note=note))
    await assert_enqueued(app, Bill, note=note)
    (run,) = (await drain(app, raises=False)).ran
    assert (run.job_id, run.outcome, type(run.error)) == (asked.job_id, "dead", InvalidResult)
    with pytest.raises(StokerError, match=said):
        await app.result(asked.job_id)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b'{"t":null,"f":"bill.write","a":[{"order":"one"}],"k":{},"et":1}', "undecodable"),
        (b'{"t":null,"f":"bill.write","a":[{"order":1,"ordre":1}],"k":{},"et":1}', "undecodable"),
        (b'{"t":null,"f":"bill.write","a":[{}, {}],"k":{},"et":1}', "undecodable"),
        (b'{"t":null,"f":"bill.write","a":[{"order":NaN}],"k":{},"et":1}', "undecodable"),
        (b'{"t":null,"f":"two words","a":[{}],"k":{},"et":1}', "undecodable"),
        (b"\x80\x04N.", "undecodable"),
        (None, "expired"),
    ],
)
async def test_in_the_queue_it_becomes_one_dead_letter_and_no_loop(
    app: Stoker, payload: bytes | None, reason: str
) -> None:
    asked = await app.enqueue(Bill(order=1))
    redis: Any = app.queue.redis
    name = f"arq:job:{asked.job_id}"
    await (redis.set(name, payload) if payload else redis.delete(name))
    drained = await drain(app, raises=False, later=True)
    assert [(one.job_id, one.outcome) for one in drained.ran] == [(asked.job_id, "dead")]
    assert drained.waiting == ()
    assert [one.reason for one in await DeadLetters(app.engine).list(Which())] == [reason]


async def test_a_kind_in_the_queue_that_no_release_here_has_is_parked_and_no_loop(app: Stoker) -> None:
    """Not a dead letter: during a deploy the other release has it."""
    asked = await app.enqueue(Bill(order=1))
    redis: Any = app.queue.redis
    raw = await redis.get(f"arq:job:{asked.job_id}")
    await redis.set(f"arq:job:{asked.job_id}", raw.replace(b"bill.write", b"bill.wrote"))
    drained = await drain(app, later=True)
    assert [one.outcome for one in drained.ran] == ["parked"]
    assert [one.why for one in drained.waiting] == ["parked"]
