"""Three Sentinels, one of which is cut off: it names, with an old epoch, a primary that the others replaced.

What a network that is cut in two looks like to a client that reaches both parts: both servers take themselves
for primaries.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stoker.embedded.listening import LOOPBACK, Listening, free_ports
from stoker.embedded.sentinels import Sentinel
from stoker.redis.pool import close_client, queue_client
from stoker.redis.sentinel import Search, blocking_client

NAME, OF_SERVERS, OF_SENTINELS = "main", "of-servers", "of-sentinels"
TIMES = 20
"""Connections that are opened: the one that is cut off is often, but not always, the first to answer."""


@dataclass
class Torn:
    """Both parts. `old` leads alone and is named by the first Sentinel, `new` by the two others."""

    old: Listening
    new: Listening
    sentinels: list[Sentinel]

    @property
    def url(self) -> str:
        """Names the Sentinel that is cut off first."""
        hosts = ",".join(one.address for one in self.sentinels)
        return f"redis+sentinel://:{OF_SERVERS}@{hosts}/{NAME}/0?sentinel_password={OF_SENTINELS}"


@pytest.fixture
def torn() -> Iterator[Torn]:
    with tempfile.TemporaryDirectory(prefix="st", dir="/tmp") as folder, ExitStack() as last:
        ports = free_ports(5)
        old, new = (
            Listening(name, Path(folder), port, ["--save", ""], password=OF_SERVERS)
            for name, port in zip(("old", "new"), ports, strict=False)
        )
        sentinels = [
            Sentinel(f"s{number}", Path(folder), port, OF_SENTINELS, _remembered(server, epoch))
            for number, (port, server, epoch) in enumerate(
                zip(ports[2:], (old, new, new), (3, 4, 4), strict=True), 1
            )
        ]
        for one in (old, new, *sentinels):
            last.callback(one.kill)
            one.start()
        yield Torn(old, new, sentinels)


def _remembered(primary: Listening, epoch: int) -> list[str]:
    """What a Sentinel keeps in its file of a master and its last failover."""
    return [
        f"sentinel current-epoch {epoch}",
        f"sentinel monitor {NAME} {LOOPBACK} {primary.port} 2",
        f"sentinel auth-pass {NAME} {OF_SERVERS}",
        f"sentinel config-epoch {NAME} {epoch}",
    ]


async def test_a_sentinel_that_is_cut_off_leads_nobody_to_the_old_primary(torn: Torn) -> None:
    search = Search(torn.url, "the cache Redis", 10)
    assert torn.sentinels[0].primary(NAME) == torn.old.port
    assert torn.old.leads()
    found = [(await search.find())["port"] for _ in range(TIMES)]
    assert found == [torn.new.port] * TIMES
    client = queue_client(torn.url, connections=1, wait_s=10)
    try:
        assert (await client.config_get("port"))["port"] == str(torn.new.port)
    finally:
        await close_client(client)


def test_nor_does_it_lead_threads_there(torn: Torn) -> None:
    thread: Any = blocking_client(torn.url, 10)
    with closing(thread):
        assert thread.config_get("port")["port"] == str(torn.new.port)


async def test_two_of_three_suffice_and_the_newer_one_is_believed(torn: Torn) -> None:
    torn.sentinels[2].kill()
    search = Search(torn.url, "the cache Redis", 10)
    assert (await search.find())["port"] == torn.new.port
    thread: Any = blocking_client(torn.url, 10)
    with closing(thread):
        assert thread.connection_pool.get_master_address()[1] == torn.new.port


async def test_one_that_answers_alone_is_believed(torn: Torn) -> None:
    """With the others away nobody can fail over, and a cache that is used is better than none."""
    for one in torn.sentinels[1:]:
        one.kill()
    search = Search(torn.url, "the cache Redis", 10)
    assert (await search.find())["port"] == torn.old.port
    thread: Any = blocking_client(torn.url, 10)
    with closing(thread):
        assert thread.connection_pool.get_master_address()[1] == torn.old.port
