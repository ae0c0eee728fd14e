"""What the engine reports about jobs while they run, for metrics and tests."""

from __future__ import annotations

from typing import Protocol


class Observer(Protocol):
    """Called at every start and end. Whatever it raises is logged and harms no job."""

    def job_started(self, lane: str, kind: str, waited_s: float) -> None:
        """A job begins; it was due `waited_s` seconds ago."""

    def job_ended(self, lane: str, kind: str, outcome: str, ran_s: float) -> None:
        """A job ended: with what its handler returned, or as the engine decided.

        The engine's words: `retried`, `deferred`, `postponed`, `dead`, `dropped`, `returned`, `lost`,
        `cancelled`, `parked`.
        """


class Silent:
    """Does nothing."""

    def job_started(self, lane: str, kind: str, waited_s: float) -> None:
        """Nothing."""

    def job_ended(self, lane: str, kind: str, outcome: str, ran_s: float) -> None:
        """Nothing."""
