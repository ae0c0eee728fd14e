"""A replica is promoted, and a web app that still reaches the old primary soon reads SQL (row 45)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from redis.asyncio import Redis

from stoker import Forbidden
from stoker.embedded.valkey import Valkey
from tests.races.race import race
from tests.races.test_identity import reason_after_check
from tests.races.world import PATIENCE_S, Process, Urls, World, never


@dataclass
class Pair:
    """A world on a primary that has a replica; `web` goes on reading the primary whatever happens."""

    world: World
    web: Process
    replica: Valkey

    async def synchronized(self) -> None:
        """Wait until the replica has all that the primary has."""
        await caught_up(self.world.redis)

    async def promote(self) -> None:
        """The replica is the primary from now on; the old one does not hear of it."""
        async with Redis.from_url(self.replica.url) as redis:
            await redis.slaveof()
        link = self.world.first.cache_link
        link.lead_to(self.replica.url)
        link.cut()
        link.mend()


async def caught_up(primary: Redis) -> None:
    """Wait until the replica has all that was written to the primary."""
    await primary.set("catch-up", "1")
    never("the replica did not catch up", happened=await primary.wait(1, int(PATIENCE_S * 1000)) != 1)


def free_port() -> int:
    """A port on which no server listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@pytest.fixture
async def pair(
    guard: str | None,  # noqa: ARG001 - order
    urls: Urls,
    prefix: str,
    tmp_path: Path,
) -> AsyncIterator[Pair]:
    """Both on loopback: a replica reaches its primary by TCP only."""
    port = free_port()
    options = ["--save", "", "--bind", "127.0.0.1", "--repl-diskless-sync-delay", "0"]
    first = Valkey("first", tmp_path / "a", tmp_path, tmp_path / "a.log", [*options, "--port", str(port)])
    second = Valkey(
        "second", tmp_path / "b", tmp_path, tmp_path / "b.log", [*options, "--replicaof", f"127.0.0.1 {port}"]
    )
    world = World(replace(urls, cache=first.url), prefix)
    try:
        await asyncio.to_thread(first.start)
        await asyncio.to_thread(second.start)
        async with Redis.from_url(first.url) as redis:
            await caught_up(redis)
        await world.start()
        web = await world.warmed(await world.process())
        await world.first.stoker.cache_identity.note()
        pair = Pair(world, web, second)
        await pair.synchronized()
        yield pair
    finally:
        await world.close()
        for server in (second, first):
            await asyncio.to_thread(server.kill)


@race("the run of the noted server", "the server that acknowledged being noted")
async def test_a_web_app_that_reaches_the_old_primary_does_not_show_what_is_invalidated_in_the_new(
    pair: Pair,
) -> None:
    """Row 45. The worker's first change after the failover notes the new server before it is settled."""
    await pair.promote()
    await pair.world.change("v2")
    reason = await reason_after_check(pair.web)
    shown = await pair.web.body()
    never(f"it shows {shown!r}", happened=shown != "v2")
    assert "invalidates another cache" in (reason or "")


@race("the run of the noted server", "the server that acknowledged being noted")
async def test_a_removed_member_is_not_served_by_a_web_app_at_the_old_primary(pair: Pair) -> None:
    """Rows 23, 45. The access entry at the old primary is as it was."""
    await pair.promote()
    await pair.world.remove_member(1)
    await reason_after_check(pair.web)
    try:
        shown = await pair.web.read()
    except Forbidden:
        return
    never(f"it was shown {shown.value}", happened=True)


@race("the run of the noted server", "the server that acknowledged being noted")
async def test_a_failover_in_the_middle_of_applying_is_noted_before_it_is_settled(pair: Pair) -> None:
    """Row 45. The unlink that the old primary lost is acknowledged by the new one."""
    world = pair.world
    await world.write("v2")
    lost = world.first.cache_link.hold_request(b"UNLINK")
    applying = world.begin(world.first.apply())
    await lost.reached.wait()
    await pair.promote()
    lost.release()
    assert await applying == 1
    await reason_after_check(pair.web)
    shown = await pair.web.body()
    never(f"it shows {shown!r}", happened=shown != "v2")


async def test_a_web_app_that_follows_to_the_new_primary_reads_the_cache_again(pair: Pair) -> None:
    await pair.promote()
    await pair.world.change("v2")
    assert await reason_after_check(pair.web)
    pair.web.cache_link.lead_to(pair.replica.url)
    pair.web.cache_link.cut()
    pair.web.cache_link.mend()
    for _ in range(2):
        await reason_after_check(pair.web)
    assert not pair.web.stoker.cache.breaker.open
    await pair.world.must_show("v2", pair.web)
