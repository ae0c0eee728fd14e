"""Processes that disagree on which cache it is: who reads another than is invalidated reads SQL.

Guards: `Home.note` before anything is settled, `Home.apart` in the breaker's look and at the start; `AGAIN`
in home.sql for a cache that is returned to. Each test fails without the one that it names.
"""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from jobs import Forbidden, State
from jobs.outbox import home
from tests.races.world import Process, World


async def noted(process: Process) -> None:
    """A process that applies notes its cache now, as it does every few seconds."""
    process.stoker.home._note_at_s = 0.0
    await process.apply()


async def unknown(world: World) -> None:
    """Nobody has noted any cache yet."""
    await world.sql("DELETE FROM cache_homes")
    world.first.stoker.home._note_at_s = 0.0


async def looked(process: Process) -> str | None:
    """Why the breaker is open after its next look."""
    await process.stoker.cache.breaker.look()
    return process.stoker.cache.breaker.reason


async def test_a_web_app_under_another_prefix_reads_sql(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Guard: the comparison of prefix and installation, at the first look after the worker's note."""
    await unknown(world)
    web = await world.warmed(await world.process(cache={"prefix": f"{world.prefix}-old"}))
    await world.change("v2")
    assert "keys begin with" in (await looked(web) or "")
    assert await web.body() == "v2"
    await world.remove_member(1)
    with pytest.raises(Forbidden):
        await web.read()
    assert [one.levelno for one in caplog.records if one.message == "cache.apart"] == [logging.ERROR]


async def test_a_web_app_that_starts_under_another_prefix_serves_nothing_kept(world: World) -> None:
    """Guard: the comparison at the start; the breaker's loop looks seconds later."""
    await unknown(world)
    old = {"prefix": f"{world.prefix}-old"}
    await world.warmed(await world.process(cache=old))
    await world.change("v2")
    assert (await (await world.process(cache=old)).read()).value["body"] == "v2"


async def test_a_web_app_on_another_server_reads_sql(world: World) -> None:
    """Guard: the mark, which lies in the cache that the worker notes and not in the other."""
    await unknown(world)
    world.urls = replace(world.urls, cache=world.urls.queue)
    web = await world.warmed(await world.process())
    await world.change("v2")
    assert await looked(web) is None, "it might have lost its mark"
    await noted(world.first)
    assert "CACHE_REDIS_URL" in (await looked(web) or "")
    assert await web.body() == "v2"


async def test_a_cache_that_lost_its_mark_opens_no_breaker(world: World) -> None:
    """A restart, a flush or an eviction. Guard: only a note that began after the mark was seen counts."""
    web = await world.process()
    await world.change("v2")
    await world.warmed(web)
    for _ in range(2):
        await world.redis.delete(f"{world.first.stoker.cache.store.keys.root}:mark")
        assert await looked(web) is None
        assert await looked(web) is None
        await noted(world.first)
        assert await looked(web) is None
    assert (await web.read()).state is State.HIT


async def test_a_cache_that_is_returned_to_shows_nothing_that_changed_meanwhile(world: World) -> None:
    """A release with another prefix is rolled back. Guard: what went to the other is applied again."""
    web = await world.process()
    await noted(world.first)
    await world.warmed(web)
    newer = await world.process(cache={"prefix": f"{world.prefix}-new"})
    await world.write("v2")
    await newer.apply()
    assert await looked(web)
    await noted(world.first)
    assert await looked(web), "the newer release may still apply"
    await world.sql(
        "UPDATE cache_homes SET noted_at = noted_at - CAST(:left AS interval) WHERE root = :root",
        left=home.LEFT,
        root=newer.stoker.cache.store.keys.root,
    )
    await noted(world.first)
    for _ in range(2):
        await looked(web)
    assert not web.stoker.cache.breaker.open
    await world.must_show("v2", web)
