"""What faults, traffic and checks use: servers, processes, users, and their state."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from sqlalchemy.ext.asyncio import AsyncEngine

from stoker import Domain
from stoker.chaos.audit import Ledger
from stoker.chaos.driver import Driver
from stoker.chaos.link import Link
from stoker.chaos.slots import Slot
from stoker.chaos.surroundings import HEALED
from stoker.chaos.tally import Tally
from stoker.chaos.topology import Servers


@dataclass
class Scene:
    """One run."""

    servers: Servers
    links: Mapping[str, Mapping[str, Link]]
    """What each process reaches each server by: by the names of both."""
    folder: Path
    domain: Domain
    sql: AsyncEngine
    rng: Random
    workers: list[Slot]
    webapps: list[Slot]
    ledger: Ledger
    tally: Tally
    driver: Driver
    poisoned_scope: tuple[str, str]
    """Kind and id of the scope that poison events name."""
    locks: defaultdict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))
    """Of the servers and the outbox; a process has its slot's."""

    @property
    def slots(self) -> list[Slot]:
        """All processes."""
        return [*self.workers, *self.webapps]

    @property
    def healed(self) -> Path:
        """While this file exists poison events can be applied."""
        return self.folder / HEALED
