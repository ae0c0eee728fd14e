"""Jobs of one command, enqueued to us at a rate: how long until each has begun and deleted its key."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial

from bench.blocks import at_rate
from bench.changes import Change
from stoker import Invalidate, Stoker


async def enqueued(stoker: Stoker, wanted: Sequence[Change], per_second: float) -> Mapping[str, int]:
    """Enqueue a job for each; by its stamp, the wall time in nanoseconds just before."""
    begun: dict[str, int] = {}

    async def one(change: Change) -> None:
        begun[change.stamp] = time.time_ns()
        await stoker.enqueue(
            Invalidate(scope_kind="project", scope_id=str(change.project), views=("dashboard",))
        )

    await at_rate(per_second, [partial(one, change) for change in wanted])
    return begun
