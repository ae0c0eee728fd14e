"""The rows in the order in which they are measured: issue 2's first, then 3's, then 4's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.bench.figures import Figure
from tests.bench.ground import Bench
from tests.bench.rows import burst, change_applied, drain, hit_body, idle, job_start

Measure = Callable[[Bench], Awaitable[list[Figure]]]


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement, and the ids of the rows that it gives."""

    ids: tuple[str, ...]
    measure: Measure


ROWS = tuple(
    Row(module.IDS, module.measure) for module in (hit_body, change_applied, burst, job_start, drain, idle)
)
