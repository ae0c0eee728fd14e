"""How fast changes were in effect again after a fault, without the time in which that was impossible.

A change needs a working Postgres, cache, web app and worker: while one of them is away nothing can recover.
The queue is not needed, because the sweeper applies changes. A poison event must not delay the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from stoker.chaos.faults import KINDS
from stoker.chaos.scene import Scene
from stoker.chaos.tally import Recovery

NEEDED = frozenset({"cache", "postgres"})


def by_fault(scene: Scene) -> dict[str, float]:
    """The slowest recovery from each kind of fault, in seconds."""
    found: dict[str, float] = {}
    for one in scene.tally.recoveries:
        if one.seconds is not None:
            found[one.fault] = max(found.get(one.fault, 0.0), round(possible_s(scene, one), 2))
    return dict(sorted(found.items()))


def slowest(scene: Scene) -> dict[str, Any]:
    """The slowest of all; `all_s` is with the time in which it was impossible."""
    known = [(possible_s(scene, one), one) for one in scene.tally.recoveries if one.seconds is not None]
    if not known:
        return {"fault": None, "seconds": 0.0, "all_s": 0.0}
    seconds, one = max(known, key=lambda pair: pair[0])
    return {"fault": one.fault, "seconds": round(seconds, 2), "all_s": round(one.seconds or 0, 2)}


def limits(room_s: float) -> dict[str, float]:
    """How long recovery from each kind of fault may take: the promised time plus the room."""
    return {kind.name: kind.recovers_s + room_s for kind in KINDS}


def never(scene: Scene) -> list[str]:
    """Faults from which there was no recovery."""
    missing = {one.fault for one in scene.tally.recoveries if one.seconds is None}
    return [f"no change was in effect after: {', '.join(sorted(missing))}"] if missing else []


def late(slowest_s: Mapping[str, float], room_s: float) -> list[str]:
    """Faults from which recovery took too long."""
    allowed_s = limits(room_s)
    return [
        f"recovery from {fault} took {took_s:.1f} s, and may take {allowed_s[fault]:g} s"
        for fault, took_s in slowest_s.items()
        if took_s > allowed_s[fault]
    ]


def possible_s(scene: Scene, recovery: Recovery) -> float:
    """Seconds of a recovery during which it was possible."""
    began, ended = recovery.ended, recovery.ended + (recovery.seconds or 0)
    bounds = sorted({began, ended, *(at for at in _bounds(scene) if began < at < ended)})
    return sum(until - at for at, until in pairwise(bounds) if _possible(scene, (at + until) / 2))


def _bounds(scene: Scene) -> set[float]:
    bounds = {at for one in scene.tally.troubles for at in (one.began, one.ended)}
    for slot in scene.slots:
        for life in slot.lives:
            bounds |= {at for at in (life.ready, life.ended) if at is not None}
            bounds |= {at for freeze in life.freezes for at in freeze}
    return bounds


def _possible(scene: Scene, at: float) -> bool:
    if any(one.target in NEEDED and one.began <= at <= one.ended for one in scene.tally.troubles):
        return False
    return all(
        any(life.works(at) for slot in slots for life in slot.lives)
        for slots in (scene.workers, scene.webapps)
    )
