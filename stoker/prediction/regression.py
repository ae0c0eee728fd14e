"""An online logistic regression over bins: one weight for each, learnt from one example at a time.

The step is AdaGrad's (Duchi, Hazan and Singer, 2011): the more often a weight was corrected, the smaller its
next correction.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log, sqrt

RATE = 0.1
"""How far one example moves the weights at most."""
PRIOR = 0.05
"""The probability before anything was learnt: few of the known entries are read in the next hour."""
STEEPEST = 30.0


class Regression:
    """Probabilities of bins; see features.py. Cheap: a dozen look-ups for each prediction."""

    def __init__(self, count: int) -> None:
        self.weights = [0.0] * count
        self.weights[0] = log(PRIOR / (1 - PRIOR))
        self.squares = [1.0] * count

    def probability(self, bins: Sequence[int]) -> float:
        """What is predicted, between 0 and 1 (never exactly)."""
        weights = self.weights
        total = 0.0
        for one in bins:
            total += weights[one]
        return 1 / (1 + exp(-max(-STEEPEST, min(STEEPEST, total))))

    def learn(self, bins: Sequence[int], *, read: bool, weight: float = 1.0) -> None:
        """Correct the weights by what became of one prediction, which stands for `weight` of its like."""
        error = (self.probability(bins) - read) * weight
        square, step = error * error, RATE * error
        weights, squares = self.weights, self.squares
        for one in bins:
            squares[one] = total = squares[one] + square
            weights[one] -= step / sqrt(total)
