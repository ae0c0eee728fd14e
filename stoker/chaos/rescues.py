"""At rest: how fast a killed worker's jobs were rescued, and that no healthy worker lost a claim."""

from __future__ import annotations

from dataclasses import dataclass

from stoker.chaos.audit import Rescue
from stoker.chaos.faults.kind import RESCUED_S
from stoker.chaos.scene import Scene
from stoker.chaos.slots import POLL_S, Life
from stoker.chaos.words import first

CLAIM_S = 6.0
"""How long a claim lasts unless it is renewed: `EngineSettings.claim_life_s`."""
SLACK_S = 3.0
"""Allowance for a late renewal on a busy machine."""


@dataclass(frozen=True)
class Rescues:
    """Claims that were taken from their owners. Seconds are from a worker's death to the rescue."""

    count: int
    slowest_s: float
    """Of those that no other fault delayed."""
    slowest_disturbed_s: float
    killed_in_calm: int
    """Workers that were killed while they ran a long job, and that no other fault kept from being rescued."""


def rescues(scene: Scene, room_s: float) -> tuple[Rescues, list[str]]:
    """How fast rescues were, and which of them took a claim from a healthy worker."""
    undisturbed, disturbed, wrong = [0.0], [0.0], []
    for rescue in scene.ledger.rescues:
        died = _died(scene, rescue)
        if died is None:
            if not _excused(scene, rescue):
                job = scene.ledger.born.get(rescue.job_id, b"?").decode()[:160]
                wrong.append(f"{job} was taken from pid {rescue.owner_pid}, which was healthy")
        elif _calm(scene, died, rescue.at):
            undisturbed.append(rescue.at - died)
        else:
            disturbed.append(rescue.at - died)
    slowest_s, slowest_disturbed_s = round(max(undisturbed), 2), round(max(disturbed), 2)
    calm = [one for one in scene.tally.killed if _calm(scene, one.at, one.at + RESCUED_S)]
    found = Rescues(len(scene.ledger.rescues), slowest_s, slowest_disturbed_s, len(calm))
    failures = [f"{len(wrong)} claims were lost without a fault: {first(wrong)}"] if wrong else []
    if found.slowest_s > RESCUED_S + room_s:
        failures.append(f"a killed worker's job was rescued only after {found.slowest_s:.1f} s")
    rescued = {(one.job_id, one.owner_pid) for one in scene.ledger.rescues}
    kept = [one for one in calm if one.job_id not in scene.ledger.erased]
    left = [one.job_id for one in kept if (one.job_id, one.pid) not in rescued]
    failures += [f"{len(left)} jobs of killed workers were never rescued: {first(left)}"] if left else []
    return found, failures


def _lives(scene: Scene, pid: int) -> list[Life]:
    return [life for slot in scene.workers for life in slot.lives if life.pid == pid]


def _died(scene: Scene, rescue: Rescue) -> float | None:
    """When the owner of a rescued claim died; None if it was alive."""
    for life in _lives(scene, rescue.owner_pid):
        # A SIGKILL and its record here are not simultaneous.
        if life.ended is not None and life.ended <= rescue.at + POLL_S:
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
