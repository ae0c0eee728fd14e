"""Every fault that chaos knows, and the seeded plan of when which one strikes.

A fault holds the lock of what it strikes for as long as it lasts, so faults of different targets overlap and
two of the same do not. Each heals what it did, also when the run is broken off.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from random import Random
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy import text

from jobs.connections import database_errors
from jobs.errors import DatabaseUnavailable
from worker.chaos.link import NoAnswer
from worker.chaos.scene import Scene
from worker.chaos.slots import Slot
from worker.embedded import Server

BURST = 15
"""Changes that are sent together just before a worker is killed, so that it is killed at work."""
PAUSE_MS = 10_000
TRIES = 5
EVICTING, REFUSING, AMPLE = "allkeys-lfu", "noeviction", "256mb"
"""The cache's policies under faults, and its memory without."""
TINY = "1mb"
"""Less than a server without any data takes."""

Strike = Callable[[Scene, Slot | None, float], Awaitable[None]]


@dataclass(frozen=True)
class Kind:
    """A kind of fault: what it strikes, and how long it may last in seconds."""

    name: str
    target: str
    shortest_s: float
    longest_s: float
    strike: Strike


@dataclass(frozen=True)
class Planned:
    """One fault of a run; `pick` chooses among several targets."""

    at_s: float
    kind: Kind
    lasts_s: float
    pick: int


def plan(kinds: Sequence[Kind], rng: Random, seconds: float, pace_s: float) -> Iterator[Planned]:
    """Faults for a run: every kind once before any comes again.

    Those of the queue come one after the other, at a random place of each round: in between there is time for
    what an outage of the queue puts off, such as the rescue of a killed worker's jobs.
    """
    at_s, round_ = 0.5, list[Kind]()
    while kinds:
        if not round_:
            others = [kind for kind in kinds if kind.target != "queue"]
            queue = [kind for kind in kinds if kind.target == "queue"]
            round_ = rng.sample(others, len(others))
            place = rng.randint(0, len(round_))
            round_[place:place] = rng.sample(queue, len(queue))
        kind = round_.pop(0)
        lasts_s = min(rng.uniform(kind.shortest_s, kind.longest_s), max(0.5, seconds - at_s))
        yield Planned(at_s, kind, lasts_s, rng.randrange(1000))
        at_s += min(rng.expovariate(1 / pace_s), 3 * pace_s)
        if at_s > seconds - 1:
            return


# Processes


async def kill(scene: Scene, slot: Slot | None, lasts_s: float) -> None:
    """SIGKILL in the middle of work, and a while without the process."""
    assert slot is not None  # noqa: S101 - its target is a slot
    burst = [asyncio.ensure_future(scene.traffic.change()) for _ in range(BURST)]
    await asyncio.sleep(scene.rng.uniform(0.005, 0.08))
    slot.kill()
    await asyncio.sleep(lasts_s)
    slot.start()
    await slot.ready()
    await asyncio.gather(*burst)


async def freeze(scene: Scene, slot: Slot | None, lasts_s: float) -> None:
    """SIGSTOP, and SIGCONT when others may have taken over what it did."""
    assert slot is not None  # noqa: S101 - its target is a slot
    del scene
    slot.freeze()
    try:
        await asyncio.sleep(lasts_s)
    finally:
        slot.thaw()


async def deploy(scene: Scene, slot: Slot | None, lasts_s: float) -> None:
    """The other release takes the place: an orderly end, then a start."""
    assert slot is not None  # noqa: S101 - its target is a slot
    del scene, lasts_s
    await slot.stop()
    slot.older = not slot.older
    slot.start()
    await slot.ready()


# The queue


async def queue_restart(scene: Scene, _slot: Slot | None, lasts_s: float) -> None:
    """SIGKILL; it comes back with its data."""
    await _down(scene.stage.servers.queue, lasts_s)


async def queue_restart_empty(scene: Scene, _slot: Slot | None, lasts_s: float) -> None:
    """SIGKILL; it comes back without its data. Nothing is written between the count and the end."""
    queue = scene.stage.servers.queue
    async with admin(queue) as redis:
        await redis.execute_command("CLIENT", "PAUSE", PAUSE_MS, "WRITE")
        await scene.ledger.take(redis)
    await asyncio.to_thread(queue.kill)
    scene.ledger.erase()
    try:
        await asyncio.sleep(lasts_s)
    finally:
        queue.wipe()
        await asyncio.to_thread(queue.start)


async def queue_flush(scene: Scene, _slot: Slot | None, _lasts_s: float) -> None:
    """FLUSHALL; counted in the same transaction."""
    async with admin(scene.stage.servers.queue) as redis:
        await scene.ledger.take(redis, then=("FLUSHALL",))


async def queue_full(scene: Scene, _slot: Slot | None, lasts_s: float) -> None:
    """No memory left: what is enqueued is refused, what is queued must run."""
    async with admin(scene.stage.servers.queue) as redis:
        await redis.config_set("maxmemory", TINY)
        try:
            await asyncio.sleep(lasts_s)
        finally:
            await redis.config_set("maxmemory", "0")


async def queue_freeze(scene: Scene, _slot: Slot | None, lasts_s: float) -> None:
    """It answers nothing, and then all at once."""
    await _frozen(scene.stage.servers.queue, lasts_s)


# The cache


async def cache_restart(scene: Scene, _slot: Slot | None, lasts_s: float) -> None:
    """SIGKILL; it comes back with what it held some time before: it goes back in time (RACES 8)."""
    cache = scene.stage.servers.cache
    async with admin(cache) as redis:
        await redis.save()
    await asyncio.sleep(scene.rng.uniform(0.3, 1.5))
    await _down(cache, lasts_s)


async def cache_restart_empty(scene: Scene, _slot: Slot | None, lasts_s: float) -> None:
    """SIGKILL; it comes back without its data."""
    cache = scene.stage.servers.cache
    await asyncio.to_thread(cache.kill)
    try:
        await asyncio.sleep(lasts_s)
    finally:
        cache.wipe()
        await asyncio.to_thread(cache.start)


async def cache_flush(scene: Scene, _slot: Slot | None, _lasts_s: float) -> None:
    """FLUSHALL."""
    async with admin(scene.stage.servers.cache) as redis:
        await redis.flushall()


async def cache_small(scene: Scene, _slot: Slot | None, lasts_s: float) -> None:
    """Memory for half of what it holds: entries and stamps are evicted all the time."""
    async with admin(scene.stage.servers.cache) as redis:
        found = await redis.info("memory")
        half = (found["used_memory"] + found["used_memory_startup"]) // 2
        await redis.config_set("maxmemory", half)
        await _until_ample(redis, lasts_s)


async def cache_full(scene: Scene, _slot: Slot | None, lasts_s: float) -> None:
    """No memory left and nothing evicted: scripts are refused, unlinks are not (RACES 44)."""
    async with admin(scene.stage.servers.cache) as redis:
        await redis.config_set("maxmemory-policy", REFUSING)
        await redis.config_set("maxmemory", TINY)
        await _until_ample(redis, lasts_s)


async def cache_freeze(scene: Scene, _slot: Slot | None, lasts_s: float) -> None:
    """It answers nothing, and then all at once."""
    await _frozen(scene.stage.servers.cache, lasts_s)


# Postgres and the outbox


async def postgres_restart(scene: Scene, _slot: Slot | None, lasts_s: float) -> None:
    """An orderly restart: sessions are ended."""
    postgres = scene.stage.servers.postgres
    await asyncio.to_thread(postgres.stop)
    try:
        await asyncio.sleep(lasts_s)
    finally:
        await asyncio.to_thread(postgres.start)


async def postgres_kill(scene: Scene, _slot: Slot | None, lasts_s: float) -> None:
    """SIGKILL of all its processes: it recovers from its log."""
    await _down(scene.stage.servers.postgres, lasts_s)


async def poison_event(scene: Scene, _slot: Slot | None, lasts_s: float) -> None:
    """An event whose rule raises until it is healed; the others must go on meanwhile (RACES 36)."""
    scene.stage.healed.unlink(missing_ok=True)
    try:
        kind, _, scope_id = scene.poisoned_scope.partition(":")
        with suppress(NoAnswer):
            await scene.a_webapp().link.ask("poison", scope={"scope_kind": kind, "scope_id": scope_id})
        await asyncio.sleep(lasts_s)
    finally:
        scene.stage.healed.touch()


async def unreadable_event(scene: Scene, _slot: Slot | None, lasts_s: float) -> None:
    """A row whose scopes nobody can read, until an operator repairs it."""
    try:
        await _execute(scene, _UNREADABLE)
        await asyncio.sleep(lasts_s)
    finally:
        while not await _execute(scene, _REPAIRED):  # noqa: ASYNC110 - nobody tells when it is back
            await asyncio.sleep(0.2)  # Postgres is away


KINDS = (
    Kind("kill_worker", "worker", 0.2, 3, kill),
    Kind("kill_webapp", "webapp", 0.2, 2, kill),
    Kind("freeze_worker", "worker", 2, 9, freeze),
    Kind("freeze_webapp", "webapp", 1, 4, freeze),
    Kind("deploy", "worker", 0, 0, deploy),
    Kind("queue_restart", "queue", 0.1, 3, queue_restart),
    Kind("queue_restart_empty", "queue", 0.1, 2, queue_restart_empty),
    Kind("queue_flush", "queue", 0, 0, queue_flush),
    Kind("queue_full", "queue", 1, 3, queue_full),
    Kind("queue_freeze", "queue", 1, 4, queue_freeze),
    Kind("cache_restart", "cache", 0.1, 2, cache_restart),
    Kind("cache_restart_empty", "cache", 0.1, 2, cache_restart_empty),
    Kind("cache_flush", "cache", 0, 0, cache_flush),
    Kind("cache_small", "cache", 1, 4, cache_small),
    Kind("cache_full", "cache", 1, 3, cache_full),
    Kind("cache_freeze", "cache", 0.6, 3, cache_freeze),
    Kind("postgres_restart", "postgres", 0.1, 2, postgres_restart),
    Kind("postgres_kill", "postgres", 0.1, 1, postgres_kill),
    Kind("poison_event", "outbox", 1, 4, poison_event),
    Kind("unreadable_event", "outbox", 1, 4, unreadable_event),
)


@asynccontextmanager
async def admin(server: Server) -> AsyncIterator[Any]:
    """A client of its own for one fault."""
    url: str = server.url  # type: ignore[attr-defined] # every server has one; the base class does not say so
    async with Redis.from_url(url, socket_timeout=20) as redis:
        yield redis


async def _down(server: Server, lasts_s: float) -> None:
    await asyncio.to_thread(server.kill)
    try:
        await asyncio.sleep(lasts_s)
    finally:
        await asyncio.to_thread(server.start)


async def _frozen(server: Server, lasts_s: float) -> None:
    os.kill(server.pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(lasts_s)
    finally:
        os.kill(server.pid, signal.SIGCONT)


async def _until_ample(redis: Any, lasts_s: float) -> None:  # noqa: ANN401 - the driver's commands are untyped
    try:
        await asyncio.sleep(lasts_s)
    finally:
        with suppress(RedisError):
            await redis.config_set("maxmemory", AMPLE)
            await redis.config_set("maxmemory-policy", EVICTING)


async def _execute(scene: Scene, statement: str) -> bool:
    try:
        with database_errors():
            async with scene.sql.begin() as connection:
                await connection.execute(text(statement))
    except DatabaseUnavailable:
        return False
    return True


_UNREADABLE = """
INSERT INTO cache_events (kind, payload, scopes) VALUES ('chaos.unreadable', '{}', '[["nobody reads this"]]')
"""
_REPAIRED = """
UPDATE cache_events SET scopes = '[]' WHERE kind = 'chaos.unreadable' AND settled_at IS NULL
"""
