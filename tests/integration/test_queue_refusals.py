"""A queue Redis that answers with refusals counts as away, like one that is down."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from stoker.api.rates import Rate
from stoker.embedded import Urls
from stoker.embedded.valkey import Valkey
from stoker.errors import QueueUnavailable
from stoker.jobs import Lane, Relay
from stoker.queue.bells import RelayBell
from stoker.queue.enqueue import Queue
from stoker.queue.ring import Departure, Ringer
from stoker.settings import QueueSettings

SPIN = "while true do end"
BUSY = "BUSY"
FORBIDDEN = {
    "no scripts": ("-eval", "-evalsha", "-set"),
    "less in scripts": ("-zadd", "-zcard", "-lpush", "-set", "-incr"),
}
"""What a user may not run; otherwise everything."""
LIMITED = ("ACL", "SETUSER", "limited", "on", ">word", "~*", "&*", "+@all")


@pytest.fixture
async def refusing(request: pytest.FixtureRequest, tmp_path: Path, prefix: str) -> AsyncIterator[Queue]:
    """A queue on a server of its own that runs somebody's endless script, or allows its user less."""
    server = Valkey("refusing", tmp_path / "data", tmp_path, tmp_path / "log", ["--save", ""])
    await asyncio.to_thread(server.start)
    operator = Redis.from_url(server.url)
    url, spinning = server.url, None
    if request.param == BUSY:
        await operator.config_set("busy-reply-threshold", 1)
        spinning = asyncio.create_task(operator.execute_command("EVAL", SPIN, 0))
        await _refused(server.url)
    else:
        await operator.execute_command(*LIMITED, *FORBIDDEN[request.param])
        url += f"{'&' if '?' in url else '?'}username=limited&password=word"
    queue = Queue.from_url(url, QueueSettings(prefix=prefix))
    yield queue
    await queue.close()
    await asyncio.to_thread(server.kill)
    if spinning is not None:
        await asyncio.gather(spinning, return_exceptions=True)
    await operator.aclose()


async def _refused(url: str) -> None:
    async with asyncio.timeout(30), Redis.from_url(url) as client:
        while True:
            try:
                await client.ping()
            except ResponseError:
                return


@pytest.mark.parametrize("refusing", [BUSY, *FORBIDDEN], indirect=True)
async def test_a_queue_that_refuses_is_unavailable_to_everybody_who_asks_it(
    refusing: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(QueueUnavailable, match=r"refuses: .*(busy|permission|user executing)"):
        await refusing.enqueue(Relay())
    with pytest.raises(QueueUnavailable, match="refuses"):
        await refusing.pause(Lane.WARM)
    with pytest.raises(QueueUnavailable, match="refuses"):
        await asyncio.to_thread(refusing.ring_from_thread)
    assert await Rate(refusing, "action", 10).wait_s("somebody") == 0, "it counts by itself"

    ringer = Ringer(RelayBell(refusing), Departure(refusing.connection))
    with caplog.at_level(logging.WARNING):
        ringer.soon([17])
        ringer.soon_from_thread([18])
        await ringer.close()
    failed = [record for record in caplog.records if record.getMessage() == "ring.failed"]
    assert sorted(vars(record)["ids"] for record in failed) == [[17], [18]]


async def test_a_closed_connection_is_not_opened_again_by_a_call_under_way(
    server_urls: Urls, prefix: str
) -> None:
    """Guard: nobody would close it."""
    queue = Queue.from_url(server_urls.queue, QueueSettings(prefix=prefix))
    await queue.connection.command("PING")
    await queue.connection.close()
    with pytest.raises(QueueUnavailable, match="closed"):
        await queue.connection.command("PING")
    assert queue.connection._shared is not None
    assert queue.connection._shared.lost
    await queue.close()
