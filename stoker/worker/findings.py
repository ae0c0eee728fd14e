"""What `stoker check` finds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong. `outage`: it may end without a change by anybody."""

    level: Level
    message: str
    outage: bool = False


def error(message: str) -> Finding:
    """What somebody must change."""
    return Finding(Level.ERROR, message)


def warning(message: str) -> Finding:
    """What works, but not as well as it could."""
    return Finding(Level.WARNING, message)


def outage(message: str) -> Finding:
    """What may end by itself."""
    return Finding(Level.ERROR, message, outage=True)
