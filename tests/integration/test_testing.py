"""What stoker.testing gives to the tests of an application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stoker import MAINTENANCE, Cron, Domain, Job, JobContext, Lane, RetryPolicy, Stoker
from stoker.embedded import Embedded
from stoker.handlers.deliver import reset_lost
from stoker.testing import (
    apply,
    assert_enqueued,
    assert_invalidates,
    assert_recorded,
    drain,
    draining,
    enqueued,
    schedule_at,
)
from stoker.testing.waiting import Waiting
from tests.library import BookAdded
from tests.library import domain as library
from tests.support.place import Place

pytest_plugins = ["pytester"]


class Mail(Job):
    kind = "mail.send"
    lane = "mail"
    ticket: int


class Digest(Job):
    kind = "mail.digest"
    lane = "sums"
    first: int = 1


class Fails(Job):
    kind = "mail.fails"
    lane = "mail"
    retry = RetryPolicy(attempts=2, errors=(ConnectionError,))
    declared: bool


sent: list[int] = []


async def mail(_: JobContext, job: Mail) -> None:
    sent.append(job.ticket)


async def digest(context: JobContext, job: Digest) -> None:
    async with context.stoker.session() as session, session.begin():
        context.stoker.enqueue_in(session, Mail(ticket=job.first))
    await context.stoker.enqueue(Mail(ticket=job.first + 1), delay=timedelta(hours=1))


def fails(_: JobContext, job: Fails) -> None:
    raise ConnectionError("away") if job.declared else ValueError("wrong")


domain: Domain = replace(
    library,
    lanes=(Lane("mail", rate_per_s=0.001), Lane("sums")),
    handlers={Mail: mail, Digest: digest, Fails: fails},
    schedule=(Cron("digest", Digest(first=7), "0 6 * * mon-fri", timezone="Europe/Berlin"),),
)


@pytest.fixture
async def app(place: Place) -> AsyncIterator[Stoker]:
    sent.clear()
    async with Stoker.opened(place.settings(), domain) as stoker:
        yield stoker


async def test_drain_runs_what_is_due_and_what_that_enqueues_and_says_what_is_left(app: Stoker) -> None:
    await app.enqueue(Digest())
    drained = await drain(app)
    assert [(one.job, one.outcome) for one in drained.ran] == [(Digest(), "done"), (Mail(ticket=1), "done")]
    [left] = drained.waiting
    assert (left.job, left.why) == (Mail(ticket=2), "later")
    assert timedelta(minutes=59) < left.due_at - datetime.now(UTC) < timedelta(minutes=61)
    assert sent == [1]
    assert not (await drain(app, later=True)).waiting
    assert sent == [1, 2]


async def test_drain_runs_what_becomes_due_while_it_looks_for_later_jobs(
    app: Stoker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def seen_when_due(stoker: Stoker) -> list[Waiting]:
        found = await enqueued(stoker)
        for one in found:
            await asyncio.sleep((one.due_at - datetime.now(UTC)).total_seconds())
        return await enqueued(stoker)

    monkeypatch.setattr(draining, "enqueued", seen_when_due)
    await app.enqueue(Mail(ticket=5), delay=timedelta(milliseconds=50))
    assert not (await drain(app, later=True)).waiting
    assert sent == [5]


async def test_drain_of_some_lanes_leaves_the_others(app: Stoker) -> None:
    await app.enqueue_many([Digest(), Mail(ticket=5)])
    assert [one.kind for one in (await drain(app, ["mail"])).ran] == ["mail.send"]
    assert not (await drain(app, "mail")).ran
    await assert_enqueued(app, Digest)


async def test_the_error_of_a_handler_is_raised_or_told(app: Stoker) -> None:
    await app.enqueue(Fails(declared=False))
    with pytest.raises(ValueError, match="wrong") as raised:
        await drain(app)
    assert "mail.fails(declared=False): dead" in raised.value.__notes__[0]
    await app.enqueue(Fails(declared=True))
    drained = await drain(app, raises=False, later=True)
    assert [one.outcome for one in drained.ran] == ["retried", "dead"]
    assert all(isinstance(one.error, ConnectionError) for one in drained.ran)


async def test_what_drain_has_run_does_not_run_again_when_the_queue_loses_its_data(
    app: Stoker, servers: Embedded
) -> None:
    assert servers.owned
    async with app.session() as session, session.begin():
        app.enqueue_in(session, Mail(ticket=1))
        app.enqueue_in(session, Mail(ticket=2), delay=timedelta(hours=1))
    await drain(app)
    redis: Any = app.queue.redis
    await redis.flushall()
    assert await reset_lost(app) == 1
    await drain(app, later=True)
    assert sent == [1, 2]


async def test_jobs_without_end_fail_the_test(app: Stoker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stoker.testing.draining.MOST_RUNS", 3)
    await app.enqueue_many([Mail(ticket=number) for number in range(5)])
    with pytest.raises(AssertionError, match="3 jobs ran, and others are still due"):
        await drain(app)


async def test_what_is_enqueued_is_found_or_told(app: Stoker) -> None:
    async with app.session() as session, session.begin():
        app.enqueue_in(session, Mail(ticket=1))
    await app.enqueue(Digest(first=3))
    assert (await assert_enqueued(app, Mail, ticket=1)).ticket == 1
    there = r"mail\.send\(ticket=1\) \(due\), mail\.digest\(first=3\) \(due\)"
    said = rf"no mail\.send\(ticket=2\) was enqueued; enqueued were: {there}"
    with pytest.raises(AssertionError, match=said):
        await assert_enqueued(app, Mail, ticket=2)
    with pytest.raises(TypeError, match="Mail has no field tickets; it has: ticket"):
        await assert_enqueued(app, Mail, tickets=2)
    with pytest.raises(TypeError, match=r"give the class of the job or event, not 'mail\.send'"):
        await assert_enqueued(app, "mail.send")  # type: ignore[arg-type]
    await drain(app, ["mail", "sums"])
    assert {one.why for one in await enqueued(app)} == {"later"}
    with pytest.raises(AssertionError, match=r"no mail\.digest was enqueued; enqueued were: mail\.send"):
        await assert_enqueued(app, Digest)


async def test_what_is_recorded_and_invalidated_is_found_or_told(app: Stoker) -> None:
    async def change() -> None:
        async with app.session() as session, session.begin():
            app.record(session, BookAdded(shelf="a"))

    await assert_invalidates(app, BookAdded(shelf="a"), ("titles", "a"))
    await assert_invalidates(app, change(), ("titles", "a"))
    with pytest.raises(AssertionError, match=r"not invalidate titles of shelf:b; it invalidates: .*shelf:a"):
        await assert_invalidates(app, BookAdded(shelf="a"), ("titles", "b"))
    with pytest.raises(AssertionError, match=r"not invalidate titles of shelf:b; it invalidates: .*shelf:a"):
        await assert_invalidates(app, change(), ("titles", "b"))
    await assert_recorded(app, BookAdded, shelf="a")
    with pytest.raises(AssertionError, match=r"was recorded; recorded were: book"):
        await assert_recorded(app, BookAdded, shelf="b")
    assert await apply(app) == 2


async def test_the_schedule_is_asked_for_any_moment(app: Stoker) -> None:
    six = datetime(2026, 6, 1, 4, tzinfo=UTC)  # 06:00 in Berlin, a Monday
    assert await schedule_at(app, six + timedelta(minutes=1)) == []
    [slot] = await schedule_at(app, six)
    assert (slot.name, slot.job) == ("digest", Digest(first=7))
    await assert_enqueued(app, Digest, first=7)
    week = await schedule_at(app, six, six + timedelta(days=6))
    assert [one.at.day for one in week] == [1, 2, 3, 4, 5]


async def test_the_schedule_in_tests_leaves_out_all_of_the_maintenance(place: Place) -> None:
    whole = replace(domain, schedule=(*MAINTENANCE, *domain.schedule))
    async with Stoker.opened(place.settings(), whole) as stoker:
        midnight = datetime(2026, 6, 1, tzinfo=UTC)
        found = await schedule_at(stoker, midnight, midnight + timedelta(hours=12))
    assert [one.name for one in found] == ["digest"]


def test_a_failed_assertion_shows_the_line_of_the_test_alone(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import asyncio
        from stoker import Job
        from stoker.testing import assert_enqueued

        class Mail(Job):
            kind = "mail"
            lane = "warm"
            ticket: int

        def test_mail():
            asyncio.run(assert_enqueued(None, Mail, tickets=1))
        """
    )
    shown = pytester.runpytest_subprocess("-p", "no:valkey", "-p", "no:schemathesis").stdout.str()
    assert "Mail has no field tickets" in shown
    assert "check_fields" not in shown


APPLICATION = """
from sqlalchemy import text
from stoker import Access, Domain, Event, Invalidation, Rule, ScopeKind, View

ORDER = ScopeKind("order")

class OrderChanged(Event):
    kind = "order.changed"
    order_id: int

async def load(session, keys):
    found = dict((await session.execute(text("SELECT id, total FROM orders"))).all())
    return {key: found[key.scope.number] for key in keys if key.scope.number in found}

TOTAL = View("total", ORDER, load, access=Access.ANYONE)
domain = Domain(name="shop", scopes=(ORDER,), views=(TOTAL,),
    rules=(Rule(OrderChanged, lambda event: [Invalidation(ORDER.scope(event.order_id))]),))
"""
ITS_TESTS = """
import pytest
from shop import TOTAL
from sqlalchemy import text

pytestmark = pytest.mark.asyncio

async def write(stoker):
    async with stoker.session() as session, session.begin():
        await session.execute(text("INSERT INTO orders VALUES (1, 10)"))

async def test_one(stoker):
    await write(stoker)
    assert (await stoker.read(TOTAL, 1)).value == 10
    assert (await stoker.read(TOTAL, 1)).state == "hit"

async def test_two_begins_clean(stoker, stoker_servers):
    await write(stoker)
    assert (await stoker.read(TOTAL, 1)).state == "miss"
    stoker_servers.cache.stop()
    assert (await stoker.read(TOTAL, 1)).state == "bypass"

async def test_three_finds_the_cache_again(stoker):
    await write(stoker)
    await stoker.read(TOTAL, 1)
    assert (await stoker.read(TOTAL, 1)).state == "hit"
"""
CONFTEST = """
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

@pytest.fixture(scope="session")
def stoker_tables():
    async def make(url):
        engine = create_async_engine(url)
        async with engine.begin() as connection:
            await connection.execute(text("CREATE TABLE orders (id bigint, total bigint)"))
        await engine.dispose()
    return make
"""


def test_an_application_has_the_fixtures_by_installing_stoker(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(shop=APPLICATION, test_shop=ITS_TESTS)
    pytester.makeconftest(CONFTEST)
    pytester.makeini("[pytest]\nstoker_domain = shop\npythonpath = .\n")
    pytester.runpytest_subprocess("-p", "no:valkey", "-p", "no:schemathesis").assert_outcomes(passed=3)


def test_a_project_that_uses_no_fixture_imports_nothing_of_stoker(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        import sys
        def test_light():
            ours = {name for name in sys.modules if name.split(".")[0] == "stoker"}
            assert ours == {"stoker", "stoker.on_first_use", "stoker.testing", "stoker.testing.plugin"}
        def test_told(request):
            request.getfixturevalue("stoker_domain")
    """)
    ran = pytester.runpytest_subprocess("-p", "no:valkey", "-p", "no:schemathesis")
    ran.assert_outcomes(passed=1, errors=0, failed=1)
    ran.stdout.fnmatch_lines(["*domain: not set*For tests: stoker_domain*"])
