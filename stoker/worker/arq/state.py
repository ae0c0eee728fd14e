"""What the parts of an arq application share in one process: arq's `ctx`, its counters, its calls."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any


@dataclass
class State:
    """One for each process."""

    ctx: dict[Any, Any]
    """Given to each hook; functions get a copy with the job's own facts."""
    burst: bool = False
    """The worker stops when the queue is empty."""
    told: str = ""
    """What the health key says last."""
    complete: int = 0
    failed: int = 0
    retried: int = 0
    begun: int = 0
    running: int = 0
    calls: dict[str, Callable[[], Coroutine[Any, Any, None]]] = field(default_factory=dict)
    """What carries out the call of a job, by its id."""
