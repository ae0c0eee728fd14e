"""What a read answers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from functools import cached_property
from typing import Any

from pydantic_core import from_json

from jobs.cache.store import Miss


class State(StrEnum):
    """Where an answer came from."""

    HIT = "hit"
    """From the cache, without any SQL."""
    MISS = "miss"
    """Built now, by this reader or by one it waited for."""
    STALE = "stale"
    """The loader failed; this is the last value, known to be outdated."""
    BYPASS = "bypass"
    """From SQL without asking the cache."""


@dataclass(frozen=True)
class Reading:
    """One answer: `body` is the JSON as bytes, `value` the same decoded.

    `etag` names the body (a strong HTTP entity tag, in quotes). `age` is the time since it was built.
    """

    body: bytes
    etag: str
    state: State
    age: timedelta = timedelta(0)
    cause: Miss | None = None
    role: str | None = None
    """What the access view says of the reader; None for views without one."""

    @cached_property
    def value(self) -> Any:  # noqa: ANN401 - each view has a shape of its own
        """The decoded body."""
        return from_json(self.body)
