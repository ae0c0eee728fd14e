"""What `status` prints in the same way as other commands. It must not import what only they use."""

from __future__ import annotations

from stoker.operations.prediction import PredictionNow

BATCH = ("batch_id", "total", "added", "done", "failed", "cancelled", "unknown", "created_at", "ended_at")
LANE = ("ready", "deferred", "running", "parked", "dead", "oldest_ready_age_s", "paused", "slots")
"""Columns of a batch and of a lane."""


def warming(found: PredictionNow) -> str:
    """Predicted warming in one line."""
    figures = found.figures
    if figures is None:
        return f"warming: {found.in_force} (prediction {found.mode}: {found.why})"
    used = "-" if figures.used_share is None else f"{figures.used_share:.0%}"
    return (
        f"warming: {found.in_force} (prediction {found.mode}); budget {figures.budget_s:g} s a minute, "
        f"spent {figures.spent_s:.1f} s, wasted {figures.wasted_s:.1f} s, "
        f"{used} of {figures.warmed} warmed entries used"
    )
