"""What faults, traffic and checks work on: the stage, the processes on it, and what is known of both."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from random import Random

from sqlalchemy.ext.asyncio import AsyncEngine

from stoker.chaos.audit import Ledger
from stoker.chaos.revocations import Revocations
from stoker.chaos.slots import Slot
from stoker.chaos.stage import Stage
from stoker.chaos.tally import Tally
from stoker.chaos.traffic import Traffic


@dataclass
class Scene:
    """One run."""

    stage: Stage
    sql: AsyncEngine
    rng: Random
    workers: list[Slot]
    webapps: list[Slot]
    ledger: Ledger
    tally: Tally
    traffic: Traffic
    revocations: Revocations
    poisoned_scope: str
    """The scope, as `kind:id`, that poison events name."""
    locks: defaultdict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))
    """Of the servers and the outbox; a process has its slot's."""

    @property
    def slots(self) -> list[Slot]:
        """All processes."""
        return [*self.workers, *self.webapps]

    def a_webapp(self) -> Slot:
        """Any web app."""
        return self.rng.choice(self.webapps)
