"""A kind of fault: its target, how long it lasts, what it does, and how soon recovery is promised."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

from stoker.chaos.options import TOPOLOGIES
from stoker.chaos.scene import Scene
from stoker.chaos.slots import Slot

BACK_S = 2.0
"""Lanes and sweeper work again within this of a server's return, as the docs promise."""
RESCUED_S = 10.0
"""A killed worker's jobs are rescued within this, as the docs promise."""
NODE_S = 5.0
"""The same of a promotion: a cluster's map is learnt within a second, and then what waits is applied."""
ONE_CACHE = ("single", "pgbouncer")
"""The topologies whose cache is one server."""
ONE_QUEUE = (*ONE_CACHE, "cluster")
"""Those whose queue is one."""
A_PRIMARY = (*ONE_CACHE, "sentinel")
"""Those whose cache has one primary."""

Strike = Callable[[Scene, Slot | None, float], Awaitable[None]]


@dataclass(frozen=True)
class Kind:
    """A kind of fault: its target, and how many seconds it may last.

    `recovers_s`: a change that starts after it must be in effect within this, as the docs promise. `calm_s`:
    for how long after it no fault of the queue or of a worker is planned, so that its jobs are rescued.
    `then`: what puts the target in order again, given how many seconds the fault lasts; the next fault of the
    target waits for it, and recovery does not.
    """

    name: str
    target: str
    shortest_s: float
    longest_s: float
    strike: Strike
    recovers_s: float = BACK_S
    calm_s: float = 0
    topologies: Collection[str] = TOPOLOGIES
    """Those in which there is its target."""
    then: Callable[[Scene, float], Awaitable[None]] | None = None
