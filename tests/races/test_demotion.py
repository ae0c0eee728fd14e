"""A primary that is demoted, and one that is promoted again, without a restart (rows 5, 7, 8)."""

from __future__ import annotations

from contextlib import suppress

from stoker import State
from stoker.errors import QueueUnavailable
from stoker.jobs import Refresh
from stoker.queue.enqueue import Queue
from stoker.settings import QueueSettings
from tests.races.link import Link
from tests.races.race import race
from tests.races.rewinding import Rewinding
from tests.races.world import PATIENCE_S, Urls, applies, never, patience


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
    """Row 7. A refused unlink is sent again on a new connection, which leads to the primary of now."""
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
    """Row 34. One call is refused; the next reaches the primary of now."""
    link = await Link(rewinding.server.url).start()
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
