"""What a kind of fault is: what it strikes, for how long, how, and how soon all must be well after it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from stoker.chaos.scene import Scene
from stoker.chaos.slots import Slot

BACK_S = 2.0
"""Lanes and sweeper are back within this of a server's return (docs: what the worker promises)."""
RESCUED_S = 10.0
"""What a killed worker's jobs are promised."""

Strike = Callable[[Scene, Slot | None, float], Awaitable[None]]


@dataclass(frozen=True)
class Kind:
    """A kind of fault: what it strikes, and how long it may last in seconds.

    `recovers_s`: a change begun after it must be in effect within this, by what is promised.
    """

    name: str
    target: str
    shortest_s: float
    longest_s: float
    strike: Strike
    recovers_s: float = BACK_S
