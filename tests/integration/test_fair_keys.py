"""Jobs of different fair keys take turns, on a real engine and through a transaction."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from stoker.errors import BadRequest, DeclarationError
from stoker.handlers.context import JobContext
from stoker.handlers.deliver import deliver_all
from stoker.jobs import Job, Lane
from stoker.operations.live_jobs import LiveState, Search, live_job, live_jobs
from stoker.queue import wire
from stoker.queue.enqueue import Queue
from stoker.stoker import Stoker
from tests.library import domain as library
from tests.support.engine_fixtures import known_jobs, queue, sql, stage  # noqa: F401 - fixtures
from tests.support.engine_stage import Stage, Turned, running, settled
from tests.support.place import Place

W = Lane.WARM


async def test_a_backlog_of_one_key_does_not_delay_another_key(
    queue: Queue,  # noqa: F811
    queue_url: str,
    stage: Stage,  # noqa: F811
    sql: AsyncEngine,  # noqa: F811
) -> None:
    await queue.enqueue_many([Turned(name=f"a{number}", tenant="a") for number in range(2000)])
    async with running(queue, queue_url, stage, sql, concurrency=4):
        await stage.until(lambda: len(stage.runs) > 20)
        await queue.enqueue(Turned(name="first of b", tenant="b"))
        before = len(stage.runs)
        await stage.until(lambda: ("first of b", 1) in stage.runs)
        assert len(stage.runs) - before < 500, "it did not wait for the backlog"
        await settled(queue, W, ready=0, running=0, done=2001)
    own = [name for name, _ in stage.runs if name.startswith("a")]
    assert own == [f"a{number}" for number in range(2000)], "each key keeps its order"
    left = [key async for key in queue.redis.scan_iter(f"{queue.settings.prefix}:{W}:fair*")]
    assert left == []


async def test_a_line_that_somebody_deletes_loses_no_job(
    queue: Queue,  # noqa: F811
    queue_url: str,
    stage: Stage,  # noqa: F811
    sql: AsyncEngine,  # noqa: F811
) -> None:
    await queue.enqueue_many([Turned(name=f"a{number}", tenant="a") for number in range(40)])
    keys = [key async for key in queue.redis.scan_iter(f"{queue.settings.prefix}:{W}:fair*")]
    assert await queue.redis.delete(*keys) == 2
    async with running(queue, queue_url, stage, sql, concurrency=4):
        await settled(queue, W, ready=0, running=0, done=40)


async def test_a_cap_holds_while_slots_are_free(
    queue: Queue,  # noqa: F811
    queue_url: str,
    stage: Stage,  # noqa: F811
    sql: AsyncEngine,  # noqa: F811
) -> None:
    release = stage.hold("a")
    async with running(queue, queue_url, stage, sql, concurrency=8, fair_cap=2):
        await queue.enqueue_many([Turned(name="a", tenant="a") for _ in range(20)])
        await settled(queue, W, running=2, ready=18)
        await queue.enqueue(Turned(name="b", tenant="b"))
        await stage.until(lambda: ("b", 1) in stage.runs)
        assert stage.runs.count(("a", 1)) == 2
        most = now = 0

        async def counted(_: int) -> str:
            nonlocal most, now
            now += 1
            most = max(most, now)
            await asyncio.sleep(0)
            now -= 1
            return "done"

        stage.acts["a"] = counted
        release.set()
        await settled(queue, W, ready=0, running=0, done=21)
        assert most == 2


async def test_a_fair_key_that_cannot_be_is_refused_and_any_text_can(
    queue: Queue,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for key in ("", "x" * 101, "\ud800", 7, b"x"):
        with monkeypatch.context() as patched:
            patched.setattr(Turned, "fair_key", lambda _, key=key: key)
            with pytest.raises(BadRequest, match="fair_key"):
                await queue.enqueue(Turned())
    for key in ("Müller & Söhne", '"}', "\\", "a b\n", "%41", "日本" * 50):
        asked = await queue.enqueue(Turned(tenant=key))
        stored = wire.decode(await queue.redis.get(f"arq:job:{asked.job_id}") or b"")
        assert wire.fair_key_of(stored.fair) == key
        assert stored.payload == {"name": "work", "tenant": key}


@pytest.mark.parametrize("cap", [-1, 1.5, None])
def test_a_cap_that_cannot_be_is_refused(cap: object) -> None:
    with pytest.raises(DeclarationError, match="fair_cap"):
        Lane("mail", fair_cap=cap)  # type: ignore[arg-type]


class Mail(Job):
    kind = "mail.send"
    lane = "mail"
    tenant: str

    def fair_key(self) -> str:
        return self.tenant


async def send(_: JobContext, __: Mail) -> None:
    """Nothing."""


domain = replace(library, lanes=(Lane("mail", fair_cap=3),), handlers={Mail: send})


async def test_a_request_in_a_transaction_keeps_its_key_and_listings_show_it(place: Place) -> None:
    settings = place.settings()
    assert settings.lanes.of(domain.all_lanes)["mail"].fair_cap == 3
    async with Stoker.opened(settings, domain) as stoker:
        async with stoker.session() as session, session.begin():
            asked = [stoker.enqueue_in(session, Mail(tenant="t 1")) for _ in range(3)]
        await deliver_all(stoker)
        later = await stoker.enqueue(Mail(tenant="t 2"), delay=timedelta(hours=1))
        found = (await live_jobs(stoker, Search(["mail"], [LiveState.READY, LiveState.DEFERRED], 10))).jobs
        assert [(job.job_id, job.state, job.fair_key) for job in found] == [
            *[(job_id, LiveState.READY, "t 1") for job_id in asked],
            (later.job_id, LiveState.DEFERRED, "t 2"),
        ]
        for job in found:
            one = await live_job(stoker, job.job_id)
            assert one is not None
            assert one[0] == job
