"""Replies that do not count as answers of the cache, and what a reader gets then (rows 7, 24, 38)."""

from __future__ import annotations

import asyncio

from stoker import EntryKey, Reading, State
from stoker.cache.accounting import read_counters
from stoker.cache.envelope import ZSTD, decode
from stoker.cache.lookup import Asked
from stoker.cache.verdicts import Verdict
from stoker.errors import CacheUnavailable
from stoker.handlers.verify import verify_entries
from tests.races.race import race
from tests.races.rewinding import Rewinding
from tests.races.world import Fault, World, never, no_error, patience
from tests.support.notes import note

LOADING = b"-LOADING Valkey is loading the dataset in memory\r\n"


@race("outages told from errors of one entry")
async def test_a_cache_that_leaves_while_a_batch_waits_does_not_take_answers_along(world: World) -> None:
    """Row 7. Another process builds, and Redis goes away meanwhile: SQL answers a batch, too."""
    slow, waiting = world.first, await world.process(cache={"timeout_s": 0.5})
    await waiting.read(view="access")
    loader = slow.notes.hold_before("detail")
    building = world.begin(slow.read())
    await loader.reached.wait()
    asked = waiting.cache_link.count(waiting.digest("begin"))
    batch = world.begin(waiting.stoker.read_many([Asked("detail", 1)], reader=1))
    await asked.reach(2)
    waiting.cache_link.cut()
    async with patience("the batch was not answered"):
        [answer] = await batch
    never(f"the batch was answered by {answer!r}", happened=not isinstance(answer, Reading))
    assert isinstance(answer, Reading)
    assert (answer.state, waiting.stoker.cache.breaker.open) == (State.BYPASS, True)
    loader.release()
    await building


@race("nobody waiting for another connection")
async def test_a_second_connection_that_is_refused_does_not_count_as_an_outage(rewinding: Rewinding) -> None:
    """Row 38. The server takes no more clients; those that are connected go on."""
    world = rewinding.world
    process = await world.warmed(await world.process(cache={"timeout_s": 0.5}))
    await world.redis.config_set("maxclients", len(await world.redis.client_list()))
    readings = await asyncio.gather(*(process.read() for _ in range(40)))
    never("reads went to SQL", happened={one.state for one in readings} != {State.HIT})
    await world.redis.config_set("maxclients", 100)


@race("error replies being no answers")
async def test_figures_of_a_cache_that_is_loading_do_not_fail_otherwise_than_one_that_is_away(
    world: World,
) -> None:
    """A server that answers, but is still loading: CacheUnavailable, and nothing else."""
    process = world.first
    store = process.stoker.cache.store
    process.cache_link.answer(b"HGETALL", LOADING)
    try:
        await read_counters(store.client, store.keys, ["detail"])
    except CacheUnavailable:
        return
    except Exception as error:
        raise Fault(f"it was read as an answer: {error!r}") from error
    never("it counted as an answer", happened=True)


@race("refused counts kept")
async def test_counts_that_a_loading_cache_refused_are_not_lost(world: World) -> None:
    """A server that answers, but is still loading, has counted nothing."""
    process = world.first
    store, accounting = process.stoker.cache.store, process.stoker.accounting
    await accounting.flush(store.client, store.keys)
    accounting.count("detail", "hits", 7)
    process.cache_link.answer(b"HINCRBY", LOADING * 2)
    await accounting.flush(store.client, store.keys)
    await accounting.flush(store.client, store.keys)
    counted = (await read_counters(store.client, store.keys, ["detail"]))["detail"]
    never(f"hits are {counted}", happened=counted.get("hits") != 7)


@race("error replies being no answers")
async def test_the_breaker_does_not_close_for_a_cache_that_is_loading(world: World) -> None:
    """Row 38. LOADING in answer to PING is no answer."""
    process = world.first
    breaker = process.stoker.cache.breaker
    breaker.trip("a test")
    process.cache_link.answer(b"PING", LOADING)
    await breaker.check()
    never("the breaker is closed", happened=not breaker.open)


async def _forge(world: World, view: str) -> None:
    """Bytes that are no packed entry, with a correct seal."""
    stored = await world.redis.get(world.names(view).entry)
    seal = world.first.stoker.cache.store.seal
    envelope = decode(stored, seal)
    assert envelope is not None
    forged = envelope._replace(codec=ZSTD, packed=b"\x28\xb5\x2f\xfd\x00garbage", body_bytes=50)
    await world.redis.set(world.names(view).entry, forged.encode(seal), keepttl=True)


@race("forged rights read from SQL")
async def test_forged_rights_do_not_fail_a_read(world: World) -> None:
    """Row 24. Who may read is asked in SQL where the cache does not say it."""
    await world.warmed()
    await _forge(world, "access")
    with no_error():
        assert await (await world.process()).body() == "v1"


@race("forged entries being stale")
async def test_the_verifier_does_not_fail_at_a_forged_entry_but_removes_it(world: World) -> None:
    """Row 24. What cannot be unpacked is as wrong as a stale entry."""
    process = await world.warmed()
    store = process.stoker.cache.store
    await process.stoker.accounting.flush(store.client, store.keys)
    await _forge(world, "detail")
    other = await world.process()
    with no_error():
        checked = await verify_entries(other.stoker, 100)
    assert (checked.counts[Verdict.STALE], list(checked.stale)) == (1, [EntryKey("detail", note(1))])
    assert await world.kept(process=other) is None
