"""A primary that is demoted, and one that is promoted again, without a restart (rows 5, 7, 8)."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from redis.asyncio import Redis

from stoker import State
from stoker.errors import QueueUnavailable
from stoker.jobs import Refresh
from stoker.queue.enqueue import Queue
from stoker.settings import QueueSettings
from tests.races.race import race
from tests.races.rewinding import Rewinding
from tests.races.world import PATIENCE_S, Urls, applies, never, patience
from tests.support.engine_stage import Stage, eventually, running
from tests.support.traps import TrappedLink


@race("the replication in the run")
async def test_a_server_that_failed_over_and_back_does_not_bring_an_entry_back(rewinding: Rewinding) -> None:
    """Row 8. A stamp names its server's run and replication: each promotion begins another."""
    world = rewinding.world
    await world.warmed()
    await rewinding.fall_behind()
    await world.change("v2")
    await rewinding.demote()
    await rewinding.fail_back()
    shown = await (await world.process()).body()
    never(f"after v2 was applied, a process that came later showed {shown}", happened=shown != "v2")


@race("refused writes ending the connection")
async def test_a_worker_does_not_stay_with_a_server_that_was_demoted(
    rewinding: Rewinding, urls: Urls
) -> None:
    """Row 7. A refused unlink is sent again on a new connection, which leads to the present primary."""
    worker = (await rewinding.world.warmed()).cache_link
    await rewinding.demote()
    worker.lead_to(urls.cache)
    await rewinding.world.write("v2")
    assert await applies(rewinding.world.first) == 1


@race("the primary asked again")
async def test_a_reader_does_not_stay_with_a_server_that_was_demoted(
    rewinding: Rewinding, urls: Urls
) -> None:
    """Row 5. A connection is used only while its server has lately said that it is the primary."""
    world = rewinding.world
    reader = await world.warmed(await world.process())
    await rewinding.demote()
    for process in (reader, world.first):
        process.cache_link.lead_to(urls.cache)
    await world.change("v2")
    for connection in reader.stoker.cache.store.client._open:
        connection.confirmed_s -= PATIENCE_S  # time passes
    await world.must_show("v2", reader)


@race("the primary asked again")
async def test_a_process_does_not_read_on_where_only_a_replica_is_left(rewinding: Rewinding) -> None:
    """Row 5. The address still leads to the demoted server: reads go to SQL."""
    world = rewinding.world
    reader = await world.warmed(await world.process())
    await rewinding.demote()
    for connection in reader.stoker.cache.store.client._open:
        connection.confirmed_s -= PATIENCE_S
    await world.sql("UPDATE notes SET body = 'v2'")
    reading = await reader.read()
    never(f"it shows {reading.value}", happened=reading.value["body"] != "v2")
    assert reading.state is State.BYPASS


@race("refused writes ending the connection")
async def test_a_producer_does_not_stay_with_a_queue_that_was_demoted(
    rewinding: Rewinding, urls: Urls
) -> None:
    """Row 34. One call is refused; the next reaches the present primary."""
    link = await TrappedLink(rewinding.server.url).start()
    queue = Queue.from_url(link.url, QueueSettings(prefix=rewinding.world.prefix))
    try:
        await queue.enqueue(Refresh(view="detail", scope_id="1"))
        await rewinding.demote()
        link.lead_to(urls.queue)
        with suppress(QueueUnavailable):
            await queue.enqueue(Refresh(view="detail", scope_id="2"))
        async with patience("nothing is enqueued"):
            await queue.enqueue(Refresh(view="detail", scope_id="3"))
    except QueueUnavailable as error:
        never(f"it stays: {error}", happened=True)
    finally:
        await queue.close()
        await link.close()


async def test_a_worker_whose_queue_was_demoted_says_so_in_lines_and_listens_to_the_next_primary(
    rewinding: Rewinding, urls: Urls, caplog: pytest.LogCaptureFixture
) -> None:
    """Its blocked call is answered UNBLOCKED, all later ones READONLY: REPLICAOF drops no client."""
    link = await TrappedLink(rewinding.server.url).start()
    queue = Queue.from_url(link.url, QueueSettings(prefix=rewinding.world.prefix))
    stage = Stage()
    try:
        async with running(
            queue,
            f"{link.url}?client_name={queue.settings.prefix}",
            stage,
            rewinding.world.first.stoker.engine,
        ):
            demoted = rewinding.world.redis
            await eventually(lambda: _listens(demoted, queue.settings.prefix))
            await rewinding.demote()
            await eventually(lambda: _has_said(caplog, "UNBLOCKED"))
            # The server has closed that connection. The next one meets a replica, which closes none.
            await eventually(lambda: _has_said(caplog, "read only replica"))
            link.lead_to(urls.queue)
            primary = Redis.from_url(urls.queue)
            await eventually(lambda: _listens(primary, queue.settings.prefix))
            await primary.aclose()
            await queue.ring()
            await stage.until(lambda: bool(stage.ended))
    finally:
        await queue.close()
        await link.close()
    broke = [record for record in caplog.records if record.message == "engine.part_broke"]
    assert broke
    assert [record for record in broke if record.exc_info] == [], "a traceback says nothing here"


async def _listens(redis: Any, prefix: str) -> bool:  # noqa: ANN401 - the driver's
    """Whether a client of this test waits for bells there."""
    return any(one["cmd"] == "blpop" and one["name"] == prefix for one in await redis.client_list())


async def _has_said(caplog: pytest.LogCaptureFixture, what: str) -> bool:
    """Whether the bell listener has logged such an error."""
    told = [vars(record) for record in caplog.records]
    return any(one.get("part") == "doorbell" and what in one["error"] for one in told)
