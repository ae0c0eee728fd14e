"""Whether probabilities are true: of what was predicted with 30 %, about 30 % should be read."""

from __future__ import annotations

from typing import NamedTuple

LEVELS = 10
KEPT = 0.9995
"""What one example leaves of the weight of those before it: about the last 2,000 count."""


class Level(NamedTuple):
    """Predictions between two tenths: how many, how many reads they promised, how many there were."""

    examples: float
    predicted: float
    read: float


class Calibration:
    """Counts predictions and their outcomes, by tenths of probability."""

    def __init__(self) -> None:
        self.levels = [Level(0.0, 0.0, 0.0)] * LEVELS

    def note(self, probability: float, *, read: bool, weight: float) -> None:
        """What became of a prediction that stands for `weight` of its like."""
        at = min(LEVELS - 1, int(probability * LEVELS))
        old = self.levels[at]
        self.levels[at] = Level(
            old.examples * KEPT + weight,
            old.predicted * KEPT + weight * probability,
            old.read * KEPT + weight * read,
        )
