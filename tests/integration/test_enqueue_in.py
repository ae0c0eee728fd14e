"""Jobs that are requested in a transaction: enqueued once after its commit, or never."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection, create_engine, make_url, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

import stoker.handlers.deliver
from stoker import Job, JobContext, Lane, Stoker
from stoker.embedded import Embedded, Server
from stoker.errors import BadRequest, DatabaseUnavailable, QueueUnavailable, Unavailable, UnknownJob
from stoker.handlers.deliver import deliver_all
from stoker.handlers.relay import apply_all
from stoker.operations.overview import overview
from stoker.outbox.undelivered import Undelivered
from stoker.outbox.undelivered import undelivered as requests_waiting
from stoker.telemetry.metrics import exposition
from stoker.worker.process import run_worker
from tests.library import BookAdded
from tests.library import domain as library
from tests.support.engine_stage import eventually
from tests.support.place import Place

Effect = Callable[[Stoker], Awaitable[int]]
"""Applies changes, or delivers requests."""


class Note(Job):
    kind = "note.write"
    lane = "notes"
    keep_result = timedelta(minutes=1)
    text: str


class Unhandled(Job):
    kind = "note.unhandled"
    lane = "notes"


async def write(_: JobContext, job: Note) -> str:
    return job.text


NOTES = Lane("notes")
domain = replace(library, lanes=(NOTES,), handlers={Note: write})


@pytest.fixture
async def opened(place: Place) -> AsyncIterator[Stoker]:
    """A Stoker without a worker: what is in the queue stays there."""
    async with Stoker.opened(place.settings(), domain) as stoker:
        yield stoker


async def waiting(opened: Stoker) -> list[str]:
    found: list[bytes] = await opened.queue.redis.zrange(f"{opened.queue.settings.prefix}:notes", 0, -1)
    return [one.decode() for one in found]


async def undelivered(opened: Stoker) -> int:
    async with opened.engine.connect() as connection:
        found: int = await connection.scalar(
            text("SELECT count(*) FROM stoker.job_requests WHERE delivered_at IS NULL")
        )
        return found


async def test_a_job_is_enqueued_after_the_commit_and_not_before(opened: Stoker) -> None:
    async with opened.session() as session, session.begin():
        first = opened.enqueue_in(session, Note(text="first"))
        await session.flush()
        assert await deliver_all(opened) == 0
        second = opened.enqueue_in(session, Note(text="second"))
    assert await deliver_all(opened) == 2
    assert await waiting(opened) == [first, second], "in the order of asking"
    assert await undelivered(opened) == 0


async def test_a_committed_request_is_in_the_queue_at_once_and_only_once(opened: Stoker) -> None:
    async with opened.session() as session, session.begin():
        asked = [opened.enqueue_in(session, Note(text=text)) for text in ("first", "second")]
    await eventually(lambda: _waits(opened, asked))  # no worker runs, and nothing is swept
    assert await undelivered(opened) == 2
    assert await deliver_all(opened) == 2
    assert await waiting(opened) == asked
    assert await undelivered(opened) == 0


async def test_requests_that_are_too_large_for_one_call_are_delivered_at_once_too(opened: Stoker) -> None:
    async with opened.session() as session, session.begin():
        asked = [opened.enqueue_in(session, Note(text="x" * 900_000)) for _ in range(6)]
    await eventually(lambda: _waits(opened, asked))


async def test_a_request_whose_process_died_after_the_commit_waits_for_a_sweep(
    opened: Stoker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opened._parts.deliverer, "soon", lambda rows: None)  # noqa: ARG005
    async with opened.session() as session, session.begin():
        job_id = opened.enqueue_in(session, Note(text="orphan"))
    assert await waiting(opened) == []
    assert await deliver_all(opened) == 1
    assert await waiting(opened) == [job_id]


async def _waits(opened: Stoker, asked: list[str]) -> bool:
    return await waiting(opened) == asked


async def test_a_rollback_leaves_no_job_nor_does_that_of_a_savepoint(opened: Stoker) -> None:
    async with opened.session() as session:
        opened.enqueue_in(session, Note(text="never"))
        await session.flush()
        await session.rollback()
        opened.enqueue_in(session, Note(text="never flushed"))
        await session.rollback()
        kept = opened.enqueue_in(session, Note(text="kept"))
        savepoint = await session.begin_nested()
        opened.enqueue_in(session, Note(text="in the savepoint"))
        await session.flush()
        await savepoint.rollback()
        await session.commit()
    assert await deliver_all(opened) == 1
    assert await waiting(opened) == [kept]


async def test_a_request_is_not_lost_with_what_the_session_forgets_nor_with_a_later_savepoint(
    opened: Stoker,
) -> None:
    async with opened.session() as session:
        first = opened.enqueue_in(session, Note(text="first"))
        session.expunge_all()
        await session.execute(text("SELECT 1"))
        second = opened.enqueue_in(session, Note(text="second"))
        around = await session.begin_nested()
        async with session.begin_nested():  # its release writes what waits
            pass
        await around.rollback()
        third = opened.enqueue_in(session, Note(text="third"))
        await session.commit()
    assert await deliver_all(opened) == 3
    assert await waiting(opened) == [first, second, third]


@pytest.mark.parametrize("begun", [True, False])
async def test_a_session_that_forgets_its_rows_still_requests(opened: Stoker, *, begun: bool) -> None:
    async with opened.session() as session:
        if begun:
            await session.execute(text("SELECT 1"))
        job_id = opened.enqueue_in(session, Note(text="kept"))
        session.expunge_all()
        await session.commit()
    await deliver_all(opened)
    assert await waiting(opened) == [job_id]


async def test_a_request_of_a_savepoint_inside_another_goes_with_the_outer_one(opened: Stoker) -> None:
    async with opened.session() as session:
        before = opened.enqueue_in(session, Note(text="before"))
        around = await session.begin_nested()
        async with session.begin_nested():
            opened.enqueue_in(session, Note(text="undone"))
        await around.rollback()
        async with session.begin_nested():
            kept = opened.enqueue_in(session, Note(text="kept"))
        assert await deliver_all(opened) == 0
        await session.commit()
    await deliver_all(opened)
    assert sorted(await waiting(opened)) == sorted([before, kept])


async def test_two_sessions_do_not_take_each_others_requests(opened: Stoker) -> None:
    async with opened.session() as kept, opened.session() as undone:
        job_id = opened.enqueue_in(kept, Note(text="kept"))
        opened.enqueue_in(undone, Note(text="undone"))
        await undone.flush()
        await kept.commit()
        assert await deliver_all(opened) == 1
        await undone.rollback()
    assert await deliver_all(opened) == 0
    assert await waiting(opened) == [job_id]


async def test_requests_of_one_lane_are_delivered_in_the_order_of_their_commits(opened: Stoker) -> None:
    async with opened.session() as late:
        first = opened.enqueue_in(late, Note(text="asked first, committed last"))
        await late.flush()
        async with opened.session() as early, early.begin():
            second = opened.enqueue_in(early, Note(text="asked last, committed first"))
        assert await deliver_all(opened) == 1
        await late.commit()
    assert await deliver_all(opened) == 1
    assert sorted(await waiting(opened)) == sorted([first, second])


async def test_a_plain_session_inside_run_sync_requests_and_rings(opened: Stoker) -> None:
    async with opened.engine.connect() as connection:

        def request(sync: Connection) -> str:
            with Session(sync.engine) as session, session.begin():
                return opened.enqueue_in(session, Note(text="sync"))

        job_id = await connection.run_sync(request)
    await asyncio.to_thread(opened._parts.deliverer._thread.shutdown)  # type: ignore[union-attr]
    assert await waiting(opened) == [job_id]


async def test_a_delivery_that_dies_before_its_commit_is_done_again_and_enqueues_nothing_twice(
    opened: Stoker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened.session() as session, session.begin():
        job_id = opened.enqueue_in(session, Note(text="once"))

    def killed(*_: object) -> None:
        raise ConnectionAbortedError

    with monkeypatch.context() as patched:
        patched.setattr(stoker.handlers.deliver, "update", killed)
        with pytest.raises(DatabaseUnavailable):
            await deliver_all(opened)
    assert await waiting(opened) == [job_id]
    # Its job has run and is gone; the request is delivered once more all the same.
    await opened.cancel(job_id)
    assert await waiting(opened) == []
    assert await undelivered(opened) == 1
    assert await deliver_all(opened) == 1
    assert await waiting(opened) == []
    assert await undelivered(opened) == 0


async def test_two_deliveries_at_once_enqueue_each_job_once(opened: Stoker) -> None:
    async with opened.session() as session, session.begin():
        asked = [opened.enqueue_in(session, Note(text=str(number))) for number in range(700)]
    both = await asyncio.gather(deliver_all(opened), deliver_all(opened))
    assert sum(both) == 700
    assert sorted(await waiting(opened)) == sorted(asked)


async def test_operators_see_what_waits_and_for_how_long(opened: Stoker) -> None:
    assert await requests_waiting(opened.engine) == Undelivered(0, 0)
    async with opened.session() as session, session.begin():
        opened.enqueue_in(session, Note(text="uncommitted"))
        await session.flush()
        assert (await requests_waiting(opened.engine)).count == 0
    async with opened.session() as session, session.begin():
        opened.enqueue_in(session, Note(text="old"))
        await session.flush()
        await session.execute(
            text("UPDATE stoker.job_requests SET requested_at = requested_at - interval '1 minute'")
        )
    found = await requests_waiting(opened.engine)
    assert found.count == 2
    assert 60 <= found.oldest_age_s < 600
    shown = await overview(opened, 30)
    assert shown.requests is not None
    assert shown.requests.count == 2
    assert any("2 requested jobs not in the queue yet" in one.says for one in shown.concerns)
    exposed = (await exposition(opened, opened.settings)).decode()
    assert "stoker_requests_undelivered 2.0" in exposed
    await deliver_all(opened)
    assert await requests_waiting(opened.engine) == Undelivered(0, 0)
    assert not any("requested" in one.says for one in (await overview(opened, 30)).concerns)


async def test_while_the_queue_is_away_requests_wait_in_postgres(
    opened: Stoker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise QueueUnavailable("away")

    async with opened.session() as session, session.begin():
        job_id = opened.enqueue_in(session, Note(text="later"))
    with monkeypatch.context() as patched:
        patched.setattr(opened.queue, "deliver", away)
        with pytest.raises(QueueUnavailable):
            await deliver_all(opened)
    assert await undelivered(opened) == 1
    await deliver_all(opened)
    assert await waiting(opened) == [job_id]


@pytest.mark.parametrize(
    ("away", "waits", "goes_on"), [("cache", apply_all, deliver_all), ("queue", deliver_all, apply_all)]
)
async def test_requests_and_changes_of_a_transaction_do_not_wait_for_each_other(
    opened: Stoker, servers: Embedded, away: str, waits: Effect, goes_on: Effect
) -> None:
    server: Server = getattr(servers, away)
    await asyncio.to_thread(server.stop)
    try:
        async with opened.session() as session, session.begin():
            opened.enqueue_in(session, Note(text="now"))
            opened.record(session, BookAdded(shelf="a"))
        with pytest.raises(Unavailable):
            await waits(opened)
        assert await goes_on(opened) == 1
    finally:
        await asyncio.to_thread(server.start)
    assert await waits(opened) == 1


async def test_a_synchronous_session_requests_jobs_too(opened: Stoker) -> None:
    url = make_url(str(opened.settings.database_url.get_secret_value())).set(  # type: ignore[union-attr]
        drivername="postgresql+psycopg"
    )

    def request() -> str:
        engine = create_engine(url)
        try:
            with Session(engine) as session, session.begin():
                return opened.enqueue_in(session, Note(text="sync"))
        finally:
            engine.dispose()

    job_id = await asyncio.to_thread(request)
    await deliver_all(opened)
    assert await waiting(opened) == [job_id]


async def test_a_job_that_could_never_run_or_has_no_moment_is_refused_at_once(opened: Stoker) -> None:
    async with opened.session() as session:
        with pytest.raises(UnknownJob, match="no handler for Unhandled"):
            opened.enqueue_in(session, Unhandled())
        with pytest.raises(BadRequest, match="time zone"):
            opened.enqueue_in(session, Note(text="x"), at=datetime(2030, 1, 1))  # noqa: DTZ001 - the mistake
        with pytest.raises(BadRequest, match="give ids, not rows"):
            opened.enqueue_in(session, Note(text="x" * 1_000_001))
        assert isinstance(session, AsyncSession)
        await session.commit()
    assert await deliver_all(opened) == 0


async def test_a_moment_is_kept(opened: Stoker) -> None:
    async with opened.session() as session, session.begin():
        opened.enqueue_in(session, Note(text="x"), at=datetime.now(UTC) + timedelta(hours=1))
    await deliver_all(opened)
    async with opened.engine.connect() as connection:
        left_s = await connection.scalar(
            text("SELECT extract(epoch FROM due_at - clock_timestamp()) FROM stoker.job_requests")
        )
    assert 3500 < left_s <= 3600
    assert not await opened.queue.waits("notes")


async def test_a_worker_runs_it_soon_after_the_commit(place: Place) -> None:
    settings = place.settings(
        schedule={"enable_background_warming": False},
        worker={"sweep_s": 3600},  # so that only the ring brings it
    )
    async with Stoker.opened(settings, domain) as stoker:
        stop = asyncio.Event()
        worker = asyncio.create_task(run_worker(stoker, settings, stop))
        await asyncio.sleep(0)
        async with stoker.session() as session, session.begin():
            job_id = stoker.enqueue_in(session, Note(text="soon"))
        assert await stoker.result(job_id) == "soon"
        stop.set()
        await worker
