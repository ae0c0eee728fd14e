"""Requests of `enqueue_in` whose queue has lost its data: delivered again, unless their job has ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from sqlalchemy import text

import stoker.handlers.deliver
import stoker.queue.life
from stoker import Job, JobContext, Lane, RetryPolicy, Stoker
from stoker.embedded import Embedded
from stoker.errors import DatabaseUnavailable
from stoker.handlers.deliver import deliver_all, deliver_lost_too, reset_lost
from stoker.outbox.undelivered import undelivered
from stoker.queue.life import life_name
from stoker.worker.engine.dead_letters import DeadLetters, Which
from stoker.worker.process import run_worker
from tests.library import domain as library
from tests.support.engine_stage import eventually
from tests.support.place import Place


class Note(Job):
    kind = "note.write"
    lane = "notes"
    retry = RetryPolicy(attempts=1)
    text: str


@dataclass
class Desk:
    """What the handler of this test's notes does."""

    runs: int = 0
    begun: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    free: asyncio.Event = field(default_factory=asyncio.Event)

    async def write(self, context: JobContext, job: Note) -> None:
        self.runs += 1
        self.begun.put_nowait(context.job_id)
        await self.free.wait()
        if job.text == "unreadable":
            raise ValueError(job.text)


@pytest.fixture
def desk() -> Desk:
    found = Desk()
    found.free.set()
    return found


@pytest.fixture
async def opened(place: Place, desk: Desk, servers: Embedded) -> AsyncIterator[Stoker]:
    """A Stoker without a worker, on a queue that the test may erase."""
    assert servers.owned
    domain = replace(library, lanes=(Lane("notes"),), handlers={Note: desk.write})
    schedule = {"enable_background_warming": False}
    async with Stoker.opened(place.settings(schedule=schedule, worker={"sweep_s": 3600}), domain) as found:
        yield found


@asynccontextmanager
async def working(opened: Stoker) -> AsyncIterator[None]:
    """A worker that delivers requests when it starts; later the test does it."""
    stop = asyncio.Event()
    worker = asyncio.create_task(run_worker(opened, opened.settings, stop))
    yield
    stop.set()
    await worker


async def requested(opened: Stoker, *texts: str) -> list[str]:
    async with opened.session() as session, session.begin():
        return [opened.enqueue_in(session, Note(text=text)) for text in texts]


async def erase(opened: Stoker) -> None:
    redis: Any = opened.queue.redis
    await redis.flushall()


async def waiting(opened: Stoker) -> list[str]:
    found: list[bytes] = await opened.queue.redis.zrange(f"{opened.queue.settings.prefix}:notes", 0, -1)
    return [one.decode() for one in found]


async def ended(opened: Stoker, job_id: str) -> bool:
    async with opened.engine.connect() as connection:
        found = text("SELECT count(*) FROM stoker.job_ends WHERE job_id = :job_id")
        return bool(await connection.scalar(found, {"job_id": job_id}))


async def ran(opened: Stoker, desk: Desk, job_id: str) -> None:
    """Wait until the job has begun and has left the queue."""
    assert await desk.begun.get() == job_id
    await eventually(lambda: _is_gone(opened, job_id))


async def asked_of_the_queue(opened: Stoker, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The commands that a sweep which finds nothing to do sends to the queue."""
    command, sent = opened.queue.connection.command, []

    async def noted(*parts: Any) -> Any:  # noqa: ANN401 - as of `command`
        sent.append(parts[0])
        return await command(*parts)

    with monkeypatch.context() as patched:
        patched.setattr(opened.queue.connection, "command", noted)
        assert await deliver_lost_too(opened) == 0
    return sent


async def _is_marked(opened: Stoker) -> bool:
    return (await undelivered(opened.engine)).count == 0


async def _is_gone(opened: Stoker, job_id: str) -> bool:
    return not await opened.queue.is_open(job_id)


async def test_a_request_whose_job_waited_in_an_erased_queue_is_delivered_again(opened: Stoker) -> None:
    asked = await requested(opened, "first", "second")
    await deliver_lost_too(opened)
    await erase(opened)
    assert await waiting(opened) == []
    assert await deliver_all(opened) == 0, "this is for new requests only"
    assert await deliver_lost_too(opened) == 2
    assert await waiting(opened) == asked
    assert await deliver_lost_too(opened) == 0


async def test_a_volume_that_was_lost_is_noticed_as_a_flush_is(opened: Stoker, servers: Embedded) -> None:
    asked = await requested(opened, "first")
    await deliver_lost_too(opened)
    await asyncio.to_thread(servers.queue.restart, lose_data=True)
    assert await deliver_lost_too(opened) == 1
    assert await waiting(opened) == asked


async def test_a_server_that_came_back_without_its_last_writes_gets_them_again(
    opened: Stoker, servers: Embedded
) -> None:
    asked = await requested(opened, "first")
    await deliver_lost_too(opened)
    redis: Any = opened.queue.redis
    mark = await redis.get(life_name(opened.queue.settings))
    await asyncio.to_thread(servers.queue.restart)
    prefix = opened.queue.settings.prefix
    await redis.delete(f"arq:job:{asked[0]}", f"{prefix}:notes", f"{prefix}:requested:{asked[0]}")
    assert await redis.get(life_name(opened.queue.settings)) == mark
    assert await deliver_lost_too(opened) == 1
    assert await waiting(opened) == asked


async def test_a_server_that_was_demoted_and_promoted_on_the_same_connection_is_noticed(
    opened: Stoker, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = await requested(opened, "first")
    await deliver_lost_too(opened)
    connections = opened.queue.connection.opened
    redis: Any = opened.queue.redis
    await redis.execute_command("REPLICAOF", "127.0.0.1", "1")
    await redis.execute_command("REPLICAOF", "NO", "ONE")
    prefix = opened.queue.settings.prefix
    await redis.delete(f"arq:job:{asked[0]}", f"{prefix}:notes", f"{prefix}:requested:{asked[0]}")
    monkeypatch.setattr(stoker.queue.life, "SURE_S", 0)  # the time has passed
    assert await deliver_lost_too(opened) == 1
    assert await waiting(opened) == asked
    assert opened.queue.connection.opened == connections


async def test_a_sweep_asks_the_queue_nothing_without_delivered_requests_and_once_with_them(
    opened: Stoker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stoker.queue.life, "SURE_S", 3600)
    assert await asked_of_the_queue(opened, monkeypatch) == []
    await requested(opened, "first")
    await deliver_lost_too(opened)
    assert await asked_of_the_queue(opened, monkeypatch) == ["MGET"]


async def test_a_server_that_came_back_with_all_its_data_runs_nothing_twice(
    opened: Stoker, desk: Desk, servers: Embedded
) -> None:
    [waits] = await requested(opened, "waits")
    await deliver_lost_too(opened)
    await asyncio.to_thread(servers.queue.restart)
    assert await deliver_lost_too(opened) == 1, "another run of the server may have lost it"
    assert await waiting(opened) == [waits]
    async with working(opened):
        await ran(opened, desk, waits)
        await asyncio.to_thread(servers.queue.restart)
        assert await deliver_lost_too(opened) == 0
    assert desk.runs == 1


async def test_a_job_that_has_ended_is_not_delivered_again(opened: Stoker, desk: Desk) -> None:
    async with working(opened):
        [job_id] = await requested(opened, "once")
        await ran(opened, desk, job_id)
        assert await ended(opened, job_id)
        await erase(opened)
        assert await deliver_lost_too(opened) == 0
    assert desk.runs == 1


async def test_a_job_that_died_is_not_delivered_again_even_when_its_letter_is_gone(
    opened: Stoker, desk: Desk
) -> None:
    async with working(opened):
        [job_id] = await requested(opened, "unreadable")
        await ran(opened, desk, job_id)
        assert await DeadLetters(opened.engine).discard(Which(job_id=job_id)) == 1
        await erase(opened)
        assert await deliver_lost_too(opened) == 0
    assert desk.runs == 1


async def test_a_job_that_was_cancelled_is_not_delivered_again(opened: Stoker, desk: Desk) -> None:
    [waits] = await requested(opened, "waits")
    await deliver_lost_too(opened)
    await opened.cancel(waits)
    await erase(opened)
    assert await deliver_lost_too(opened) == 0
    desk.free.clear()
    async with working(opened):
        [runs] = await requested(opened, "runs")
        assert await desk.begun.get() == runs
        await opened.cancel(runs)
        await eventually(lambda: _is_gone(opened, runs))
        await erase(opened)
        assert await deliver_lost_too(opened) == 0


async def test_a_job_that_runs_while_its_queue_is_erased_runs_again_and_ends(
    opened: Stoker, desk: Desk
) -> None:
    desk.free.clear()
    async with working(opened):
        [job_id] = await requested(opened, "twice")
        assert await desk.begun.get() == job_id
        await deliver_all(opened)
        await eventually(lambda: _is_marked(opened))  # by this call or by the worker's own
        await erase(opened)
        assert await deliver_lost_too(opened) == 1
        desk.free.set()
        await ran(opened, desk, job_id)
        assert await ended(opened, job_id)
        await erase(opened)
        assert await deliver_lost_too(opened) == 0


async def test_two_relays_deliver_what_was_lost_once(opened: Stoker, place: Place) -> None:
    asked = await requested(opened, *map(str, range(700)))
    await deliver_lost_too(opened)
    async with Stoker.opened(place.settings(), opened.domain) as another:
        await erase(opened)
        both = await asyncio.gather(deliver_lost_too(opened), deliver_lost_too(another))
        assert sum(both) >= 700
        assert sorted(await waiting(opened)) == asked
        assert await deliver_lost_too(opened) + await deliver_lost_too(another) == 0


async def test_data_that_is_erased_during_a_delivery_counts_as_lost(
    opened: Stoker, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver = opened.queue.deliver

    async def erased(*asked: Any) -> None:  # noqa: ANN401 - as the queue takes it
        await deliver(*asked)
        await erase(opened)
        await opened.queue.life.ask()

    asked = await requested(opened, "first")
    with monkeypatch.context() as patched:
        patched.setattr(opened.queue, "deliver", erased)
        assert await deliver_all(opened) == 1
    assert await waiting(opened) == []
    assert await deliver_lost_too(opened) == 1
    assert await waiting(opened) == asked


async def test_what_ended_before_its_delivery_was_noted_is_not_delivered_again(
    opened: Stoker, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise ConnectionAbortedError

    [job_id] = await requested(opened, "once")
    with monkeypatch.context() as patched:
        patched.setattr(stoker.handlers.deliver, "update", killed)
        with pytest.raises(DatabaseUnavailable):
            await deliver_all(opened)
        async with working(opened):
            await ran(opened, desk, job_id)
            await erase(opened)
    assert await deliver_lost_too(opened) == 1, "the row is marked"
    assert await waiting(opened) == []
    assert (await undelivered(opened.engine)).count == 0


async def test_a_request_older_than_the_queue_remembers_ids_is_not_delivered_again(opened: Stoker) -> None:
    await requested(opened, "old")
    await deliver_lost_too(opened)
    async with opened.engine.begin() as connection:
        await connection.execute(
            text("UPDATE stoker.job_requests SET requested_at = requested_at - interval '23 hours 1 second'")
        )
    await erase(opened)
    assert await deliver_lost_too(opened) == 0
    assert await waiting(opened) == []
    async with opened.engine.connect() as connection:
        noted = await connection.scalar(text("SELECT delivered_to FROM stoker.job_requests"))
    assert noted == await opened.queue.life.ask(), "it is judged once for each life"


async def test_many_lost_requests_are_reset_in_more_than_one_transaction(
    opened: Stoker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stoker.handlers.deliver, "RESET_BATCH", 3)
    asked = await requested(opened, *map(str, range(10)))
    await deliver_lost_too(opened)
    await erase(opened)
    assert await reset_lost(opened) == 10
    assert (await undelivered(opened.engine)).count == 10
    await deliver_all(opened)
    assert await waiting(opened) == asked


async def test_a_mark_of_another_type_is_replaced(opened: Stoker) -> None:
    redis: Any = opened.queue.redis
    await redis.lpush(life_name(opened.queue.settings), "not a mark")
    asked = await requested(opened, "first")
    assert await deliver_lost_too(opened) == 1
    assert await waiting(opened) == asked
    assert await deliver_lost_too(opened) == 0
