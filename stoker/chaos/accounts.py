"""At rest: every job is in exactly one place, and ended as its arguments said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from sqlalchemy import text

from stoker.chaos.acts import Act, Newer, Slow, What
from stoker.chaos.effects import EachTime, Once
from stoker.chaos.scene import Scene
from stoker.chaos.words import first
from stoker.postgres import database_errors

EXPECTED_END: Mapping[str, tuple[str, ...]] = {
    What.WORK: ("done",),
    What.RAISE: ("failed",),
    What.FAIL: ("exhausted",),
    What.HANG: ("exhausted",),
    What.SWALLOW: ("exhausted",),
    What.KILL: ("quarantined",),
}
ENDS = ("done", "dead", "cancelled", "dropped")
"""The engine's totals of jobs that have left the queue."""
DIED = "queue_primary_kill"
"""The fault with which what the replica had not heard of is gone."""
UNHEARD_S = 1.0
"""How far the replica may be behind, and how much later than the call its caller may note the answer."""
CHANCE = "quarantined"
"""How any job may end if its worker was killed three times while it ran, which chaos can do by chance."""


def places(scene: Scene) -> dict[str, int]:
    """Every job in exactly one place; their sum is what was enqueued."""
    ledger = scene.ledger
    ended = Counter(how for job_id, how in ledger.ended.items() if job_id not in ledger.erased)
    return {
        "enqueued": len(ledger.born),
        "done": ended["done"],
        "dead": ended["dead"],
        "cancelled": ended["cancelled"],
        "dropped": ended["dropped"],
        "parked": len(ledger.parked),
        "waiting": len(ledger.waiting) + len(ledger.running),
        "erased": len(ledger.erased),
        "lost": len(ledger.lost) + sum(count for how, count in ended.items() if how not in ENDS),
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
        for name in ENDS
        if totals[name] != ended[name]
    ]
    unborn = scene.tally.acknowledged.keys() - ledger.born.keys() - not_replicated(scene)
    if unborn:
        wrong.append(f"{len(unborn)} jobs were acknowledged to their callers but never enqueued")
    if ledger.unborn:
        wrong.append(f"{len(ledger.unborn)} jobs are in the queue but were never enqueued")
    return wrong


def not_replicated(scene: Scene) -> set[str]:
    """Jobs that were acknowledged in the moment in which the queue's primary died, and died with it.

    Redis answers before it replicates, so it cannot promise them. Requests in transactions are promised.
    """
    deaths = [one.began for one in scene.tally.troubles if one.kind == DIED]
    told = scene.tally.acknowledged
    return {
        job_id
        for job_id in told.keys() - scene.ledger.born.keys()
        if any(abs(told[job_id] - died) < UNHEARD_S for died in deaths)
    }


async def ends(scene: Scene) -> tuple[dict[str, int], list[str]]:
    """Dead letters by kind and reason, and jobs that ended differently than their arguments said."""
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
        f"{len(wrong)} jobs ended differently than they should: {first(wrong)}"
    ] if wrong else []


def _expected(scene: Scene, job_id: str) -> tuple[str, ...]:
    [kind] = scene.ledger.kinds({job_id})
    if kind == Act.kind:
        return EXPECTED_END[scene.ledger.arguments(job_id)["what"]]
    if kind in (Slow.kind, Newer.kind, Once.kind, EachTime.kind):
        return ("done",)
    # Stoker's own jobs may use up their tries while a server is away; they must not fail for another reason.
    return ("done", "exhausted")


_DEAD = text("SELECT job_id, kind, reason FROM stoker.dead_jobs")
