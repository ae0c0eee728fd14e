"""At rest: faults are healed, everything settles, and then all is counted.

Each check returns what is wrong, in words; an empty list is what a run is for.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from jobs.connections import database_errors
from jobs.contracts import Lane
from jobs.errors import DatabaseUnavailable
from worker.chaos.acts import Act, Newer, Slow, What
from worker.chaos.audit import Rescue
from worker.chaos.entries import first
from worker.chaos.scene import Scene
from worker.chaos.slots import Life
from worker.chaos.traffic import KILLER

LOOK_S = 0.1
CLAIM_S = 6.0
"""How long a claim lasts unless it is renewed: `EngineSettings.claim_life_s`."""
SLACK_S = 3.0
"""For a renewal that was due, on a busy machine."""
RESCUED_WITHIN_S = 10.0
"""What a killed worker's jobs are promised."""

DECLARED = re.compile(
    rf"(?P<prefix>[a-z0-9-]+):(({'|'.join(Lane)})(:(running|parked|totals|bell|paused))?|chaos:(born|ended|rescues))"
)
"""Keys of the queue that live as long as the queue; the cache has none."""

EXPECTED_END: Mapping[str, tuple[str, ...]] = {
    What.WORK: ("done",),
    What.RAISE: ("failed",),
    What.FAIL: ("exhausted",),
    What.HANG: ("exhausted",),
    What.SWALLOW: ("exhausted",),
    What.KILL: ("quarantined",),
}
CHANCE = "quarantined"
"""How any job may end whose worker was killed three times while it ran: chaos can do that by chance."""


@dataclass(frozen=True)
class Events:
    """The outbox at the end. Latency is from recording to settling, by Postgres's clock."""

    recorded: int
    settled: int
    missing: int
    """Acknowledged to a writer, but not in the table."""
    slowest_s: float
    p99_s: float

    @property
    def lost(self) -> int:
        """Committed and never applied."""
        return self.recorded - self.settled + self.missing


async def settle(scene: Scene, within_s: float) -> tuple[float, list[str]]:
    """Wait until nothing is left to be done; how long that took, and what is left after all."""
    began = time.monotonic()
    while True:
        left = await _left(scene)
        took = time.monotonic() - began
        if not left or took > within_s:
            return took, left
        await asyncio.sleep(LOOK_S)


async def events(scene: Scene) -> Events:
    """Count the outbox."""
    with database_errors():
        async with scene.sql.connect() as connection:
            recorded, settled, slowest, p99 = (await connection.execute(_EVENTS)).one()
            known = await connection.scalar(_KNOWN, {"ids": list(scene.traffic.events)})
    missing = len(scene.traffic.events) - int(known or 0)
    return Events(recorded, settled, missing, float(slowest or 0), float(p99 or 0))


def jobs(scene: Scene) -> dict[str, int]:
    """Every job in exactly one place; their sum is what was enqueued."""
    ledger = scene.ledger
    ended = Counter(how for job_id, how in ledger.ended.items() if job_id not in ledger.erased)
    return {
        "enqueued": len(ledger.born),
        "done": ended["done"],
        "dead": ended["dead"],
        "cancelled": ended["cancelled"],
        "parked": len(ledger.parked),
        "waiting": len(ledger.waiting) + len(ledger.running),
        "erased": len(ledger.erased),
        "lost": len(ledger.lost) + sum(ended.values()) - ended["done"] - ended["dead"] - ended["cancelled"],
    }


def accounted(scene: Scene, found: Mapping[str, int]) -> list[str]:
    """Whether the jobs add up, by the audit and by the engine's own totals."""
    wrong = []
    ledger = scene.ledger
    places = sum(count for name, count in found.items() if name not in ("enqueued", "lost"))
    if found["enqueued"] != places or found["lost"]:
        lost = first(f"{job_id} {ledger.born[job_id][:200]!r}" for job_id in sorted(ledger.lost))
        wrong.append(f"{found['enqueued']} jobs were enqueued, {places} are accounted for: {lost}")
    totals = ledger.totals()
    ended = ledger.by_end()
    wrong += [
        f"the engine counts {totals[name]} jobs {name}, the audit {ended[name]}"
        for name in ("done", "dead", "cancelled")
        if totals[name] != ended[name]
    ]
    unborn = scene.tally.acknowledged - ledger.born.keys()
    if unborn:
        wrong.append(f"{len(unborn)} jobs were acknowledged to their callers but never enqueued")
    if ledger.unborn:
        wrong.append(f"{len(ledger.unborn)} jobs are in the queue that nobody enqueued")
    return wrong


async def ends(scene: Scene) -> tuple[dict[str, int], list[str]]:
    """Dead letters by kind and reason; jobs that ended otherwise than they were asked to."""
    with database_errors():
        async with scene.sql.connect() as connection:
            rows = (await connection.execute(_DEAD)).all()
    reasons = {row.job_id: row.reason for row in rows}
    ledger, wrong = scene.ledger, []
    for job_id, how in ledger.ended.items():
        if job_id in ledger.erased or how not in ("done", "dead"):
            continue
        end = "done" if how == "done" else reasons.get(job_id, "without a dead letter")
        if end not in (*_expected(scene, job_id), CHANCE):
            wrong.append(f"{ledger.born[job_id].decode()[:200]} ended {end}")
    found = Counter(f"{row.kind} {row.reason}" for row in rows)
    return dict(found), [
        f"{len(wrong)} jobs ended otherwise than they should: {first(wrong)}"
    ] if wrong else []


@dataclass(frozen=True)
class Rescues:
    """Claims that were taken from their owners. Seconds are from a worker's death to the rescue."""

    count: int
    slowest_s: float
    """Of those that nothing else got in the way of."""
    slowest_disturbed_s: float


def rescues(scene: Scene) -> tuple[Rescues, list[str]]:
    """How fast rescues were, and those from workers that nothing had happened to."""
    undisturbed, disturbed, wrong = [0.0], [0.0], []
    for rescue in scene.ledger.rescues:
        died = _died(scene, rescue)
        if died is None:
            if not _excused(scene, rescue):
                job = scene.ledger.born.get(rescue.job_id, b"?").decode()[:160]
                wrong.append(f"{job} was taken from pid {rescue.owner_pid}, which was alive and well")
        elif _calm(scene, died, rescue.at):
            undisturbed.append(rescue.at - died)
        else:
            disturbed.append(rescue.at - died)
    found = Rescues(len(scene.ledger.rescues), round(max(undisturbed), 2), round(max(disturbed), 2))
    failures = [f"{len(wrong)} claims were lost without a fault: {first(wrong)}"] if wrong else []
    if found.slowest_s > RESCUED_WITHIN_S:
        failures.append(f"a killed worker's job was rescued only after {found.slowest_s:.1f} s")
    return found, failures


async def keys(scene: Scene) -> list[str]:
    """Keys that would stay for ever."""
    urls = scene.stage.servers.urls
    found = [key for key in await scene.keys_without_ttl(urls.queue) if not DECLARED.fullmatch(key)]
    found += await scene.keys_without_ttl(urls.cache)
    return [f"{len(found)} keys have no TTL: {first(sorted(found))}"] if found else []


def processes(scene: Scene) -> list[str]:
    """Ends that no fault explains, and ends after SIGTERM that were not orderly."""
    wrong = [words for slot in scene.slots for words in (*slot.unexplained, *slot.disorderly)]
    killers = scene.tally.mischief[KILLER]
    killed = sum(slot.killed_itself for slot in scene.slots)
    if killed and not killers:
        wrong.append(f"{killed} processes were killed by somebody else")
    return wrong


async def _left(scene: Scene) -> list[str]:
    left = []
    try:
        unsettled = await _unsettled(scene.sql)
    except DatabaseUnavailable as error:
        return [str(error)]
    if unsettled:
        left.append(f"{unsettled} committed events are not applied")
    async with Redis.from_url(scene.stage.servers.urls.queue) as redis:
        await scene.ledger.take(redis)
    due = await _due(scene)
    if due:
        left.append(f"{due} jobs are due or running")
    return left


async def _due(scene: Scene) -> int:
    """Jobs that run, are due, or will be within the backoff of a short run."""
    soon = (time.time() + 5) * 1000
    async with Redis.from_url(scene.stage.servers.urls.queue) as redis:
        pipe: Any = redis.pipeline()
        for lane in Lane:
            queue = f"{scene.ledger.prefix}:{lane}"
            pipe.zcard(f"{queue}:running").zcount(queue, "-inf", soon)
        return sum(await pipe.execute())


async def _unsettled(sql: AsyncEngine) -> int:
    with database_errors():
        async with sql.connect() as connection:
            return int(await connection.scalar(_UNSETTLED) or 0)


def _expected(scene: Scene, job_id: str) -> tuple[str, ...]:
    [kind] = scene.ledger.kinds({job_id})
    if kind == Act.kind:
        return EXPECTED_END[scene.ledger.arguments(job_id)["what"]]
    if kind in (Slow.kind, Newer.kind):
        return ("done",)
    # The product's own jobs may use up their tries while a server is away; they must not fail otherwise.
    return ("done", "exhausted")


def _lives(scene: Scene, pid: int) -> list[Life]:
    return [life for slot in scene.workers for life in slot.lives if life.pid == pid]


def _died(scene: Scene, rescue: Rescue) -> float | None:
    """When the owner of a rescued claim died; None if it was alive."""
    for life in _lives(scene, rescue.owner_pid):
        # A SIGKILL and its note here are not one moment.
        if life.ended is not None and life.ended <= rescue.at + LOOK_S:
            return life.ended
    return None


def _excused(scene: Scene, rescue: Rescue) -> bool:
    """Whether a living owner could not renew: it was frozen, or the queue was away."""
    for life in _lives(scene, rescue.owner_pid):
        if life.frozen_since and life.frozen_since <= rescue.at:
            return True
        if any(began <= rescue.at <= ended + SLACK_S for began, ended in life.freezes):
            return True
    return _queue_troubled(scene, rescue.at - CLAIM_S - SLACK_S, rescue.at)


def _calm(scene: Scene, began: float, ended: float) -> bool:
    """Whether the queue and another worker were well for long enough to rescue as promised."""
    if _queue_troubled(scene, began - CLAIM_S, ended):
        return False
    return any(
        life.began < began - SLACK_S
        and (life.ended is None or life.ended > ended)
        and not life.frozen_since
        and not any(frozen < ended and thawed > began - CLAIM_S for frozen, thawed in life.freezes)
        for slot in scene.workers
        for life in slot.lives
    )


def _queue_troubled(scene: Scene, began: float, ended: float) -> bool:
    return any(
        trouble.target == "queue" and trouble.began <= ended and trouble.ended >= began
        for trouble in scene.tally.troubles
    )


_EVENTS = text("""
SELECT count(*), count(settled_at),
       extract(epoch FROM max(settled_at - recorded_at)),
       extract(epoch FROM percentile_disc(0.99) WITHIN GROUP (ORDER BY settled_at - recorded_at))
  FROM cache_events
""")
_KNOWN = text("SELECT count(*) FROM cache_events WHERE id = ANY(:ids)")
_UNSETTLED = text("SELECT count(*) FROM cache_events WHERE settled_at IS NULL")
_DEAD = text("SELECT job_id, kind, reason FROM dead_jobs")
