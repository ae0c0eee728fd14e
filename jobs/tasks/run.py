"""Which task carries out which contract, and running one.

To add a contract: declare it in jobs/contracts.py, write its task here beside the others, name it in TASKS.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from jobs.contracts import (
    CONTRACTS,
    Contract,
    Invalidate,
    KeepWarm,
    Outcome,
    Prune,
    Refresh,
    Relay,
    Verify,
    Warm,
)
from jobs.tasks.context import TaskContext
from jobs.tasks.invalidate import invalidate
from jobs.tasks.prune import prune
from jobs.tasks.refresh import refresh
from jobs.tasks.relay import relay
from jobs.tasks.verify import verify
from jobs.tasks.warm import keep_warm, warm

Task = Callable[[TaskContext, Any], Awaitable[Outcome]]

TASKS: dict[type[Contract], Task] = {
    Relay: relay,
    Invalidate: invalidate,
    Refresh: refresh,
    Warm: warm,
    KeepWarm: keep_warm,
    Prune: prune,
    Verify: verify,
}
assert TASKS.keys() == set(CONTRACTS.values()), "a contract without a task"  # noqa: S101 - a wiring error


async def run(context: TaskContext, job: Contract) -> Outcome:
    """Carry out a job; raises what its task raises, or Defer to run again later."""
    return await TASKS[type(job)](context, job)
