"""Both roles behind Sentinels: a failover, a failover back, and what is asked wrongly."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import RedisError
from sqlalchemy import text

from stoker import CacheUnavailable, Job, JobContext, Lane, RetryPolicy, State, Stoker
from stoker.embedded.sentinels import Watched, watching
from stoker.errors import QueueUnavailable
from stoker.handlers.relay import apply_all
from stoker.queue.enqueue import Queue
from stoker.redis.cluster import cache_client
from stoker.redis.sentinel import blocking_client
from stoker.settings import QueueSettings
from stoker.worker.check_redis import redis_findings
from stoker.worker.process import run_worker
from tests.library import domain as library
from tests.support.engine_stage import eventually
from tests.support.notes import NoteChanged, Notes, write_notes
from tests.support.place import Place

IN_ALL = 60
NAME = "main"


class Count(Job):
    kind = "count.one"
    lane = "counts"
    retry = RetryPolicy(attempts=3)
    number: int


@pytest.fixture(scope="module")
def watched() -> Iterator[Watched]:
    """A pair with its Sentinels; each test leaves both servers running."""
    options = {NAME: ["--save", "", "--appendonly", "yes"]}
    with (
        tempfile.TemporaryDirectory(prefix="se", dir="/tmp") as folder,
        watching(Path(folder), options) as found,
    ):
        yield found[NAME]


@pytest.fixture
def there(place: Place, watched: Watched) -> Place:
    """The place, with both roles behind the Sentinels."""
    return replace(place, queue_url=watched.url, cache_url=watched.url)


@pytest.fixture
async def opened(there: Place) -> AsyncIterator[Stoker]:
    """A Stoker with one note in the cache."""
    settings = there.settings(cache={"breaker_retry_s": 0.05, "watch_s": 0.2, "timeout_s": 2})
    async with Stoker.opened(settings, Notes().domain) as stoker:
        async with stoker.session() as session, session.begin():
            await write_notes(session, 1)
        await stoker.read("detail", 1, reader=7)
        assert (await stoker.read("detail", 1, reader=7)).state is State.HIT
        yield stoker


async def change(stoker: Stoker, body: str) -> None:
    async with stoker.session() as session, session.begin():
        await session.execute(text("UPDATE notes SET body = :body"), {"body": body})
        stoker.record(session, NoteChanged(note_id=1))


async def applied(stoker: Stoker) -> None:
    """Apply what is recorded as soon as the cache takes it."""

    async def done() -> bool:
        with suppress(CacheUnavailable):
            return await apply_all(stoker) >= 1
        return False

    await eventually(done)


async def test_the_cache_follows_a_failover_and_back_and_nothing_is_stale(
    opened: Stoker, watched: Watched
) -> None:
    """Under reads: each is answered, by SQL where the cache is away, and none shows what was before."""
    least = ["v1"]
    shown: list[tuple[str, str]] = []
    stop = asyncio.Event()

    async def reading() -> None:
        while not stop.is_set():
            wanted = least[0]
            shown.append((wanted, (await opened.read("detail", 1, reader=7)).value["body"]))
            await asyncio.sleep(0.005)

    readers = [asyncio.create_task(reading()) for _ in range(4)]
    killed = watched.primary
    killed.kill()
    await asyncio.to_thread(watched.wait_led_by, watched.other(killed))
    await change(opened, "v2")
    await applied(opened)
    least[0] = "v2"
    await asyncio.to_thread(watched.bring_back, killed)
    await asyncio.to_thread(watched.fail_over)
    await change(opened, "v3")
    await applied(opened)
    least[0] = "v3"

    async def hits() -> bool:
        return (await opened.read("detail", 1, reader=7)).state is State.HIT

    await eventually(hits)
    stop.set()
    await asyncio.gather(*readers)
    assert [one for one in shown if one[1] < one[0]] == []
    assert (await opened.read("detail", 1, reader=7)).value["body"] == "v3"


async def test_no_requested_job_is_lost_by_a_failover_under_load(there: Place, watched: Watched) -> None:
    """Requests are rows of Postgres: what the replica had not heard of is delivered again."""
    done: set[int] = set()

    async def count(_: JobContext, job: Count) -> None:
        done.add(job.number)

    domain = replace(library, lanes=(Lane("counts"),), handlers={Count: count})
    schedule = {"enable_background_warming": False}
    settings = there.settings(schedule=schedule, worker={"sweep_s": 0.2}, queue={"timeout_s": 1})
    async with Stoker.opened(settings, domain) as stoker:
        stop = asyncio.Event()
        working = asyncio.create_task(run_worker(stoker, settings, stop))
        try:
            for number in range(IN_ALL):
                async with stoker.session() as session, session.begin():
                    stoker.enqueue_in(session, Count(number=number))
                if number == IN_ALL // 3:
                    failing = asyncio.create_task(asyncio.to_thread(watched.fail_over))
            await failing

            async def all_done() -> bool:
                return len(done) == IN_ALL

            await eventually(all_done)
        finally:
            stop.set()
            await working


async def test_a_producer_and_its_threads_find_the_primary_again(there: Place, watched: Watched) -> None:
    queue = Queue.from_url(there.queue_url, QueueSettings(prefix=there.prefix, timeout_s=2), ["counts"])
    thread: Any = blocking_client(there.queue_url, 2)
    try:
        await queue.enqueue(Count(number=1))
        thread.ping()
        await asyncio.to_thread(watched.fail_over)

        async def again() -> bool:
            with suppress(QueueUnavailable, RedisError, OSError):
                await queue.enqueue(Count(number=2))
                await queue.redis.set(f"{there.prefix}:x", "1", px=1000)
                await asyncio.to_thread(thread.set, f"{there.prefix}:x", "1", px=1000)
                return True
            return False

        await eventually(again)
        assert thread.connection_pool.get_master_address()[1] == watched.primary.port
    finally:
        thread.close()
        await queue.close()


async def test_a_name_that_no_sentinel_knows(there: Place, watched: Watched) -> None:
    wrong = watched.url.replace(f"/{NAME}/", "/mian/")
    said = "its Sentinels know no master 'mian'"
    client = cache_client(wrong, timeout_s=10, connections=1, nonce_key="run")
    with pytest.raises(CacheUnavailable, match=said):
        await client.call(("PING",))
    await client.close()
    settings = replace(there, queue_url=wrong, cache_url=wrong).settings()
    for role in ("queue", "cache"):
        [finding] = await redis_findings(settings, role)
        assert finding.message.startswith(f"the {role} Redis: {said}")
        assert not finding.outage


async def test_what_is_watched_is_checked_as_a_server_of_its_role(there: Place) -> None:
    assert [one.message for one in await redis_findings(there.settings(), "queue")] == []
    told = [one.message for one in await redis_findings(there.settings(), "cache")]
    assert told == ["the cache Redis has no maxmemory: it grows until the machine's memory is full"]


async def test_sentinels_that_do_not_answer_are_an_outage(there: Place) -> None:
    nobody = f"redis+sentinel://127.0.0.1:1,127.0.0.1:2/{NAME}"
    began = time.monotonic()
    [finding] = await redis_findings(replace(there, cache_url=nobody).settings(), "cache")
    assert finding.outage
    assert "none of its Sentinels answers" in finding.message
    assert time.monotonic() - began < 10


async def test_a_sentinel_itself_as_the_address(there: Place, watched: Watched) -> None:
    one = watched.sentinels[0]
    url = f"redis://:{one.password}@127.0.0.1:{one.port}"
    settings = replace(there, cache_url=url, queue_url=url).settings()
    said = "Redis is a Sentinel: write redis"
    told = [one.message for one in await redis_findings(settings, "cache")]
    assert any(said in one for one in told)
    client = cache_client(url, timeout_s=10, connections=1, nonce_key="run")
    with pytest.raises(CacheUnavailable, match=said):
        await client.call(("PING",))
    await client.close()
    queue = Queue.from_url(url, settings.queue, ["counts"])
    with pytest.raises(QueueUnavailable, match="runs no scripts; probably it is a Sentinel: write redis"):
        await queue.enqueue(Count(number=1))
    await queue.close()


async def test_a_server_itself_where_its_sentinels_are_to_be_named(there: Place, watched: Watched) -> None:
    one = watched.primary
    url = f"redis+sentinel://{one.address}/{NAME}/0?sentinel_password={one.password}"
    said = "is no Sentinel: write redis://"
    settings = replace(there, cache_url=url, queue_url=url).settings()
    for role in ("queue", "cache"):
        [finding] = await redis_findings(settings, role)
        assert finding.message.startswith(f"the {role} Redis {said}")
        assert not finding.outage
    queue = Queue.from_url(url, settings.queue, ["counts"])
    with pytest.raises(QueueUnavailable, match=said):
        await queue.enqueue(Count(number=1))
    await queue.close()
