"""Corrects probabilities by their outcomes: of what is predicted with 30 %, about 30 % should be read.

The learner is slow to follow a change of how people work, and then all its probabilities are too low or too
high alike. What became of its last predictions says by how much.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from itertools import accumulate
from typing import NamedTuple

LEVELS = 10
KEPT = 0.9995
"""What one example leaves of the weight of those before it: about the last 2,000 of each level count."""
DOUBT = 50.0
"""Examples in favour of the probability as it was predicted: a few outcomes correct it only a little."""


class Level(NamedTuple):
    """Predictions between two tenths: how many, how many reads they promised, how many there were."""

    examples: float
    predicted: float
    read: float

    def corrected(self) -> float:
        """What the mean prediction of this level should have been."""
        promised = self.predicted / self.examples
        return (self.read + DOUBT * promised) / (self.examples + DOUBT)


class Calibration:
    """Counts predictions and their outcomes, by tenths of the probability that was predicted."""

    def __init__(self) -> None:
        self.levels = [Level(0.0, 0.0, 0.0)] * LEVELS

    def note(self, probability: float, *, read: bool) -> None:
        """What became of a prediction."""
        at = min(LEVELS - 1, int(probability * LEVELS))
        old = self.levels[at]
        self.levels[at] = Level(
            old.examples * KEPT + 1, old.predicted * KEPT + probability, old.read * KEPT + read
        )

    def curve(self) -> Callable[[float], float]:
        """The correction as it is now; never decreasing, with straight lines between the levels' means."""
        known = [one for one in self.levels if one.examples]
        xs = [0.0, *(one.predicted / one.examples for one in known), 1.0]
        ys = [0.0, *accumulate((one.corrected() for one in known), max), 1.0]

        def corrected(probability: float) -> float:
            at = min(bisect_right(xs, probability), len(xs) - 1)
            width = xs[at] - xs[at - 1]
            part = (probability - xs[at - 1]) / width if width > 0 else 1.0  # a level of certainties alone
            return ys[at - 1] + part * (ys[at] - ys[at - 1])

        return corrected
