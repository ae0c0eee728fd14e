"""Entries forged by somebody who can write to the cache but lacks the key: misses, counted and alarmed."""

from __future__ import annotations

import logging
import math
import threading

import pytest
from pydantic_core import to_json

import stoker.cache.lookup
import stoker.cache.reading
from stoker import Forbidden, State
from stoker.cache.accounting import read_counters
from stoker.cache.envelope import Seal, decode, etag_of, unpack
from stoker.cache.reading import HEAVY_BYTES, Miss
from stoker.outbox import seal_keys
from tests.races.race import race
from tests.races.world import World, never

STRANGER = 99
FOREIGN = Seal(b"somebody else's key")


async def forge(world: World, view: str, body: bytes, seal: Seal) -> None:
    """Put another body into an entry that is otherwise as it was."""
    store = world.first.stoker.cache.store
    name = world.names(view).entry
    envelope = decode(await world.redis.get(name) or b"", store.seal)
    assert envelope is not None
    forged = envelope._replace(codec=0, packed=body, body_bytes=len(body), etag=etag_of(body))
    await world.redis.set(name, forged.encode(seal), keepttl=True)


@race("the seal of an entry")
async def test_a_forged_right_admits_nobody(world: World) -> None:
    await world.warmed()
    await forge(world, "access", to_json({str(STRANGER): "owner"}), FOREIGN)
    try:
        shown = await (await world.process()).read(reader=STRANGER)
    except Forbidden:
        return
    never(f"a stranger was shown {shown.value}", happened=True)


@race("the seal of an entry")
async def test_a_forged_entry_is_not_served(world: World) -> None:
    await world.warmed()
    await forge(world, "detail", to_json({"body": "forged"}), FOREIGN)
    await world.must_show("v1", await world.process())


async def test_forged_entries_are_counted_and_logged(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stoker.cache.lookup, "_alarmed_s", -math.inf)
    await world.warmed()
    await forge(world, "detail", b"{}", FOREIGN)
    process = await world.process()
    reading = await process.read()
    assert (reading.state, reading.cause) == (State.MISS, Miss.FORGED)
    store = process.stoker.cache.store
    await process.stoker.accounting.flush(store.client, store.keys)
    assert (await read_counters(store.client, store.keys, ["detail"]))["detail"]["miss_forged"] == 1
    assert [one.levelno for one in caplog.records if one.message == "cache.forged"] == [logging.ERROR]


async def test_a_rotated_key_leaves_the_cache_warm(world: World) -> None:
    web = await world.warmed(await world.process())
    engine = web.stoker.engine
    before = await seal_keys.learn(engine)
    await seal_keys.rotate(engine)
    accepted = await seal_keys.learn(engine)
    assert (accepted[0], len(accepted)) == (before[0], 2), "not every process knows the new one yet"
    await world.sql(
        "UPDATE stoker.seal_keys SET created_at = created_at - CAST(:known AS interval)",
        known=seal_keys.KNOWN_AFTER,
    )
    for process in (world.first, web):
        await process.stoker._parts.learn_seal_keys()
    later = await world.process()
    assert (await seal_keys.learn(engine))[0] == accepted[1]
    for process in (web, later):
        assert (await process.read()).state is State.HIT
    await world.change("v2")
    await world.must_show("v2", later)
    assert (await world.first.read()).state is State.HIT, (
        "sealed with the new key, accepted by another process"
    )


async def test_a_key_that_somebody_knows_is_forgotten_at_once(world: World) -> None:
    await world.warmed()
    known = Seal(*await seal_keys.learn(world.first.stoker.engine))
    await seal_keys.rotate(world.first.stoker.engine, at_once=True)
    await forge(world, "detail", to_json({"body": "forged"}), known)
    await world.must_show("v1", await world.process())


async def test_a_large_body_is_unpacked_beside_the_event_loop(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would block the event loop for as long as it takes."""
    await world.sql("UPDATE notes SET body = repeat('a long body ', 100000)")
    await world.warmed()
    threads: list[tuple[int, bool]] = []

    def unpacked(codec: int, packed: bytes, body_bytes: int) -> bytes:
        threads.append((threading.get_ident(), body_bytes > HEAVY_BYTES))
        return unpack(codec, packed, body_bytes)

    monkeypatch.setattr(stoker.cache.reading, "unpack", unpacked)
    reading = await (await world.process()).read()
    assert (reading.state, len(reading.body) > HEAVY_BYTES) == (State.HIT, True)
    heavy = [thread for thread, is_heavy in threads if is_heavy]
    assert heavy, "it was not stored compressed"
    assert threading.get_ident() not in heavy
