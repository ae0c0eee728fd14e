"""A server that shows no run id of 40 hex digits: a nonce that a restart loses replaces it (row 8)."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from stoker import CacheUnavailable, State
from stoker.redis.cache import CacheClient
from stoker.redis.errors import Unidentified
from stoker.settings import Settings
from stoker.worker.check import check
from stoker.worker.findings import Level
from tests.races.race import race
from tests.races.rewinding import Rewinding
from tests.races.world import Process
from tests.support.traps import TrappedLink

IDS = rb"(run_id|master_replid):[0-9a-f]{40}"
HIDDEN = rb"\1:managed-by-somebody-else-who-shows-none."
LETTERS = rb"\1:0123456789ABCDEF0123456789ABCDEFGHIJKLMN"


async def nameless(rewinding: Rewinding, shown: bytes = HIDDEN) -> Process:
    """A process whose server shows these instead of its ids."""
    process = await rewinding.world.process()
    process.cache_link.rewrite(IDS, shown)
    process.cache_link.cut()
    process.cache_link.mend()
    return process


async def run_of(process: Process) -> bytes:
    return (await process.stoker.cache.store.client.server()).run


@race("the nonce in the script cache")
async def test_a_server_without_a_run_id_that_went_back_in_time_does_not_bring_an_entry_back(
    rewinding: Rewinding,
) -> None:
    """Row 8. The restart loses the nonce's script, though the snapshot has the nonce's key."""
    world = rewinding.world
    process = await nameless(rewinding)
    await world.warmed(process)
    await rewinding.remember()
    await world.write("v2")
    await process.apply()
    await rewinding.go_back()
    await world.must_show("v2", process)


@pytest.mark.parametrize("shown", [HIDDEN, LETTERS])
async def test_processes_agree_on_the_run_of_a_server_that_shows_none(
    rewinding: Rewinding, shown: bytes
) -> None:
    first, second = await nameless(rewinding, shown), await nameless(rewinding, shown)
    run = await run_of(first)
    assert await run_of(second) == run
    await rewinding.world.warmed(first)
    assert (await second.read()).state is State.HIT
    await rewinding.world.redis.script_flush()
    for process in (first, second):
        for connection in process.stoker.cache.store.client._open:
            connection.doubt()
    assert await run_of(first) != run
    assert await run_of(second) == await run_of(first)


@asynccontextmanager
async def refusing(rewinding: Rewinding) -> AsyncIterator[str]:
    """A way to the server on which it neither shows a run id nor loads scripts."""
    password = secrets.token_hex(8)
    await rewinding.world.redis.acl_setuser(
        "poor",
        enabled=True,
        passwords=[f"+{password}"],
        keys=["*"],
        categories=["+@all"],
        commands=["-script"],
    )
    link = await TrappedLink(rewinding.server.url).start()
    link.rewrite(IDS, HIDDEN)
    try:
        yield f"redis://poor:{password}@{urlsplit(link.url).netloc}/0"
    finally:
        await link.close()


async def test_a_server_that_keeps_no_nonce_counts_as_away_and_is_refused_by_check(
    rewinding: Rewinding,
) -> None:
    async with refusing(rewinding) as url:
        client = CacheClient(url, timeout_s=10, connections=1)
        with pytest.raises(CacheUnavailable, match="shows no run id") as refused:
            await client.server()
        await client.close()
        assert isinstance(refused.value.__cause__, Unidentified)
        urls, stoker = rewinding.world.urls, rewinding.world.first.stoker
        settings = Settings(
            database_url=urls.database,
            redis_url=urls.queue,
            cache_redis_url=url,
            cache=stoker.settings.cache,
            queue=stoker.settings.queue.model_copy(update={"allow_eviction": True}),
        )
        found = [one for one in await check(settings, stoker.domain) if one.level is Level.ERROR]
    assert [one.outage for one in found if "shows no run id" in one.message] == [False], found


async def test_check_waits_for_the_worker_to_note_a_flushed_cache_and_does_not_call_it_another(
    rewinding: Rewinding,
) -> None:
    """A flush takes the nonce along: until the worker notes the new one, the cache looks like another."""
    worker, other = await nameless(rewinding), await nameless(rewinding)
    identity = worker.stoker.cache_identity
    await identity.note()
    assert await other.stoker.cache_identity.elsewhere() is None
    await rewinding.world.redis.flushdb()
    for process in (worker, other):
        for connection in process.stoker.cache.store.client._open:
            connection.doubt()
    said = await other.stoker.cache_identity.elsewhere()
    assert said is not None
    assert "flushed since, and no worker has noted that yet" in said
    asked = asyncio.create_task(other.stoker.cache_identity.elsewhere(patience_s=60))
    identity._note_at_s = 0.0  # ten seconds later
    await identity.note()
    assert await asked is None
