"""When a failed job runs again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from stoker.errors import DeclarationError, Unavailable, UnknownScope, UnknownView


@dataclass(frozen=True)
class RetryPolicy:
    """When a failed job runs again.

    `attempts` counts runs that failed by themselves, not deploys or rescues. The delay doubles from `first`
    to at most `longest`, with full jitter. Errors outside `errors` are dead at once.
    """

    attempts: int = 5
    first: timedelta = timedelta(seconds=1)
    longest: timedelta = timedelta(minutes=5)
    # A view or scope that is unknown here may be of a newer release that runs beside this one (RACES 30).
    errors: tuple[type[BaseException], ...] = (
        *(Unavailable, OSError, TimeoutError),
        *(UnknownView, UnknownScope),
    )

    def __post_init__(self) -> None:
        """Refuse impossible values; raises DeclarationError."""
        if not isinstance(self.attempts, int) or self.attempts < 1:
            raise DeclarationError(f"retry: attempts must be 1 or more, not {self.attempts!r:.60}")
        for name in ("first", "longest"):
            if not is_span(span := getattr(self, name)):
                raise DeclarationError(f"retry: {name} must be a positive timedelta, not {span!r:.60}")
        if self.first > self.longest:
            raise DeclarationError(
                f"retry: first ({self.first}) must not be longer than longest ({self.longest})"
            )
        errors = self.errors
        if not isinstance(errors, tuple) or not all(
            isinstance(one, type) and issubclass(one, BaseException) for one in errors
        ):
            raise DeclarationError(
                f"retry: errors must be a tuple of exceptions, such as (OSError,), not {errors!r:.60}"
            )


def is_span(value: object) -> bool:
    """Whether this is a time that can pass."""
    return isinstance(value, timedelta) and value > timedelta(0)
