"""Processes with different caches: one whose cache is not invalidated reads SQL (row 45)."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from stoker import Forbidden, State
from stoker.outbox import identity
from tests.races.race import race
from tests.races.rewinding import Rewinding
from tests.races.world import Process, World, never


async def noted(process: Process) -> None:
    """The process that applies events writes down its cache's identity, as it does every few seconds."""
    process.stoker.cache_identity._note_at_s = 0.0
    await process.apply()


async def unknown(world: World) -> None:
    """No cache identity has been written down yet."""
    await world.sql("DELETE FROM stoker.cache_identities")
    world.first.stoker.cache_identity._note_at_s = 0.0


async def reason_after_check(process: Process) -> str | None:
    """Why the breaker is open after its next check."""
    await process.stoker.cache.breaker.check()
    return process.stoker.cache.breaker.reason


@race("the cache noted before anything is settled", "the cache compared by the breaker")
async def test_a_web_app_under_another_prefix_does_not_show_what_nobody_invalidates(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Row 45. Its prefix is compared at the first check after the worker's note."""
    await unknown(world)
    web = await world.warmed(await world.process(cache={"prefix": f"{world.prefix}-old"}))
    await world.change("v2")
    reason = await reason_after_check(web)
    await _shows(web, "v2")
    assert "keys begin with" in (reason or "")
    await world.remove_member(1)
    with pytest.raises(Forbidden):
        await web.read()
    assert [one.levelno for one in caplog.records if one.message == "cache.diverged"] == [logging.ERROR]


@race("the cache noted before anything is settled", "the cache compared by the breaker")
async def test_a_web_app_that_starts_under_another_prefix_does_not_show_what_was_kept(world: World) -> None:
    """Row 45. It compares at its start; the breaker's loop checks seconds later."""
    await unknown(world)
    old = {"prefix": f"{world.prefix}-old"}
    await world.warmed(await world.process(cache=old))
    await world.change("v2")
    await _shows(await world.process(cache=old), "v2")


@race("the run of the noted server", "the cache compared by the breaker")
async def test_a_web_app_on_another_server_does_not_show_what_nobody_invalidates(world: World) -> None:
    """Row 45. The worker notes the run of its server, and that of the other is another one."""
    await unknown(world)
    world.urls = replace(world.urls, cache=world.urls.queue)
    web = await world.warmed(await world.process())
    await world.change("v2")
    assert await reason_after_check(web) is None, "its server might have been restarted"
    await noted(world.first)
    reason = await reason_after_check(web)
    await _shows(web, "v2")
    assert "CACHE_REDIS_URL" in (reason or "")


@race("a new run being known to the next note")
async def test_a_cache_that_was_restarted_does_not_open_a_breaker(rewinding: Rewinding) -> None:
    """Row 45. Only a note from after the new run was seen counts."""
    world = rewinding.world
    web = await world.process()
    await world.change("v2")
    for _ in range(2):
        await rewinding.go_back()
        started = await world.process()
        reasons = [await reason_after_check(web), await reason_after_check(started)]
        await noted(world.first)
        reasons += [await reason_after_check(web), await reason_after_check(started)]
        never(f"opened: {reasons}", happened=any(reasons))
    await world.warmed(web)
    assert (await web.read()).state is State.HIT


async def test_a_flush_and_a_restart_from_before_it_do_not_open_a_breaker(rewinding: Rewinding) -> None:
    """Row 45. A restored snapshot brings back an old mark, which must not count."""
    world = rewinding.world
    web = await world.process()
    await noted(world.first)
    await rewinding.remember()
    await world.redis.flushall()
    await noted(world.first)
    reasons = [await reason_after_check(web)]
    await rewinding.go_back()
    reasons.append(await reason_after_check(web))
    await noted(world.first)
    reasons.append(await reason_after_check(web))
    assert not any(reasons), reasons
    await world.change("v2")
    await world.must_show("v2", web)


async def _shows(process: Process, body: str) -> None:
    shown = await process.body()
    never(f"{shown!r} is shown, not {body!r}", happened=shown != body)


@race("what went to the other cache applied again")
async def test_a_cache_that_is_returned_to_does_not_show_what_was_before_it_was_left(world: World) -> None:
    """Row 45. A release with another prefix is rolled back: what went to the other is applied again."""
    web = await world.process()
    await noted(world.first)
    await world.warmed(web)
    newer = await world.process(cache={"prefix": f"{world.prefix}-new"})
    await world.write("v2")
    await newer.apply()
    assert await reason_after_check(web)
    await noted(world.first)
    assert await reason_after_check(web), "the newer release may still apply"
    await world.sql(
        "UPDATE stoker.cache_identities SET noted_at = noted_at - CAST(:left AS interval) WHERE root = :root",
        left=identity.LEFT,
        root=newer.stoker.cache.store.keys.root,
    )
    await noted(world.first)
    for _ in range(2):
        await reason_after_check(web)
    assert not web.stoker.cache.breaker.open
    await world.must_show("v2", web)
