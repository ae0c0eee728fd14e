"""Whether and when a failed job runs again: declared errors only, exponential backoff with full jitter.

Idea: "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015). A rescue, a deploy and a Defer
use no try.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import timedelta

from stoker.jobs import RetryPolicy


@dataclass(frozen=True)
class Again:
    """Run it again after a delay."""

    after: timedelta


@dataclass(frozen=True)
class Dead:
    """Never by itself: `failed` (an error that the job does not declare) or `exhausted`."""

    reason: str


def decide(policy: RetryPolicy, error: BaseException, attempt: int) -> Again | Dead:
    """What follows the failure of run number `attempt` (from 1)."""
    if not isinstance(error, policy.errors):
        return Dead("failed")
    if attempt >= policy.attempts:
        return Dead("exhausted")
    return Again(longest_delay(policy, attempt) * random.random())  # noqa: S311 - spreads load


def longest_delay(policy: RetryPolicy, attempt: int) -> timedelta:
    """The bound of the delay after run number `attempt`."""
    doublings = min(attempt - 1, 20)  # a million times the first delay; more would overflow timedelta
    return min(policy.longest, policy.first * (1 << doublings))
