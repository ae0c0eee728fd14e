"""When a job may begin, as callers give it: after a delay, or at a time. Raises BadRequest for bad values."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from stoker.errors import BadRequest

LONGEST_DAYS = 5 * 365
"""Of a delay. In a lane, what is due in ten years runs already, and what is due in twenty waits in line."""


def delay_of(delay: timedelta, at: datetime | None) -> timedelta:
    """The time from now; raises BadRequest for both, for a moment without a time zone, and for five years."""
    check_span(delay, "delay")
    if at is None:
        return _bounded(delay, "delay")
    if at.tzinfo is None:
        raise BadRequest(f"a moment without a time zone: {at.isoformat()}; give it one", field="at")
    if delay:
        raise BadRequest("give `delay` or `at`, not both", field="at")
    return _bounded(max(at - datetime.now(UTC), timedelta(0)), "at")


def _bounded(delay: timedelta, field: str) -> timedelta:
    if delay.days >= LONGEST_DAYS:
        raise BadRequest(
            f"a job that begins in {delay.days:,} days: at most {LONGEST_DAYS:,}; enqueue it later",
            field=field,
        )
    return delay


def check_span(value: object, name: str) -> None:
    """Raise BadRequest for anything but a timedelta."""
    if not isinstance(value, timedelta):
        raise BadRequest(
            f"{name} must be a timedelta, such as timedelta(seconds=5), not {value!r:.60}", field=name
        )
