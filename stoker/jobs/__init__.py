"""Jobs: typed arguments of work for the worker, stored under versioned kinds that outlive deploys."""

from stoker.jobs.built_in import (
    JOBS,
    Invalidate,
    KeepWarm,
    Prune,
    Refresh,
    Relay,
    Verify,
    Warm,
    parse,
)
from stoker.jobs.job import KIND, Job
from stoker.jobs.lane import LANES, Lane
from stoker.jobs.outcome import Outcome
from stoker.jobs.retry import RetryPolicy

__all__ = [
    "JOBS",
    "KIND",
    "LANES",
    "Invalidate",
    "Job",
    "KeepWarm",
    "Lane",
    "Outcome",
    "Prune",
    "Refresh",
    "Relay",
    "RetryPolicy",
    "Verify",
    "Warm",
    "parse",
]
