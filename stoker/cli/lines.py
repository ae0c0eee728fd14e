"""What `status` prints in the same way as other commands. It must not import what only they use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stoker.operations.prediction import PredictionNow

BATCH = ("batch_id", "total", "added", "done", "failed", "cancelled", "unknown", "created_at", "ended_at")
LANE = ("ready", "deferred", "running", "parked", "dead", "oldest_ready_age_s", "paused", "slots")
"""Columns of a batch and of a lane."""


def warming(found: PredictionNow) -> str:
    """Predicted warming in one line."""
    figures = found.figures
    if figures is None:
        return f"warming: {found.in_force} (prediction {found.mode}: {found.why})"
    used = f"{figures.used_share:.0%} of " if figures.used_share is not None else ""
    return (
        f"warming: {found.in_force} (prediction {found.mode}); budget {figures.budget_s:g} s a minute, "
        f"spent {figures.spent_s:.1f} s, wasted {figures.wasted_s:.1f} s, "
        f"{used}{figures.warmed} warmed entries{' used' if used else ''}"
    )


def aged(found: object, columns: Sequence[str], counted: str) -> list[object]:
    """These fields, without the age of the oldest where there is none: what is not there is not 0 s old."""
    none = not getattr(found, counted)
    return [None if none and name.startswith("oldest_") else getattr(found, name) for name in columns]


def lane_rows(found: Mapping[str, object]) -> list[list[object]]:
    """A row for each lane, after its name."""
    return [[name, *aged(lane, LANE, "ready")] for name, lane in found.items()]
