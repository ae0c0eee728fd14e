"""Which handler runs which job.

To add a built-in job: declare it in stoker/jobs/built_in.py, write its handler beside the others, name it
in HANDLERS. The jobs of an application are in its domain.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from stoker.handlers.context import JobContext
from stoker.handlers.invalidate import invalidate
from stoker.handlers.own import OwnJobs
from stoker.handlers.prune import prune
from stoker.handlers.refresh import refresh
from stoker.handlers.relay import relay
from stoker.handlers.verify import verify
from stoker.handlers.warm import keep_warm, warm
from stoker.jobs import (
    JOBS,
    Invalidate,
    Job,
    KeepWarm,
    Outcome,
    Prune,
    Refresh,
    Relay,
    Verify,
    Warm,
)

BuiltIn = Callable[[JobContext, Any], Awaitable[Outcome]]

HANDLERS: dict[type[Job], BuiltIn] = {
    Relay: relay,
    Invalidate: invalidate,
    Refresh: refresh,
    Warm: warm,
    KeepWarm: keep_warm,
    Prune: prune,
    Verify: verify,
}
assert HANDLERS.keys() == set(JOBS.values()), "a job without a handler"  # noqa: S101 - a wiring error


async def run(context: JobContext, job: Job, own: OwnJobs | None = None) -> Outcome:
    """Run a job; raises what its handler raises, or Defer to run again later."""
    if own is not None and type(job) not in HANDLERS:
        return await own.run(context, job)
    return await HANDLERS[type(job)](context, job)
