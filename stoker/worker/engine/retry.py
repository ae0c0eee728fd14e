"""Whether and when a failed job runs again: declared errors only, exponential backoff with full jitter.

Idea: "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015). A rescue, a deploy, a Defer and a known
outage use no try.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import timedelta

from stoker.errors import CacheUnavailable, DatabaseUnavailable, QueueUnavailable, Unavailable
from stoker.jobs import RetryPolicy
from stoker.postgres import was_canceled

SERVERS_AWAY = (CacheUnavailable, DatabaseUnavailable, QueueUnavailable)
OUTAGE_FOR_S = 86_400
"""For how long after it was enqueued a job waits for a server without using tries. An error that lasts longer
is not an outage."""
SOONEST_S, LATEST_S = 1.0, 30.0
"""Bounds of the delays of an outage."""
TRANSIENT = (Unavailable, OSError, TimeoutError)
"""The errors by which an outage shows where it is not known yet."""


@dataclass(frozen=True)
class Again:
    """Run it again after a delay."""

    after: timedelta


@dataclass(frozen=True)
class Dead:
    """It does not run again by itself: `failed` (an error that the job does not declare) or `exhausted`."""

    reason: str


def decide(policy: RetryPolicy, error: BaseException, attempt: int) -> Again | Dead:
    """What follows the failure of run number `attempt` (from 1)."""
    if not isinstance(error, policy.errors):
        return Dead("failed")
    if attempt >= policy.attempts:
        return Dead("exhausted")
    return Again(longest_delay(policy, attempt) * random.random())  # noqa: S311 - spreads load


def is_known_outage(error: BaseException) -> bool:
    """Whether one of Stoker's servers is away. A statement that took too long is the job's own failure."""
    return isinstance(error, SERVERS_AWAY) and not was_canceled(error)


def outage_delay(age_s: float) -> timedelta:
    """When a job of that age checks again whether the server is back: soon at first, then less often."""
    bound_s = max(SOONEST_S, min(age_s / 2, LATEST_S))
    return timedelta(seconds=bound_s * random.uniform(0.5, 1))  # noqa: S311 - spreads load


def longest_delay(policy: RetryPolicy, attempt: int) -> timedelta:
    """The bound of the delay after run number `attempt`."""
    doublings = min(attempt - 1, 20)  # a million times the first delay; more would overflow timedelta
    return min(policy.longest, policy.first * (1 << doublings))
