"""Turns the figures of interleaved blocks into one row of the report: medians, their ratio, the bound.

Touches no server and no clock.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median, quantiles

_WANTED = re.compile(r"(?P<ours>ours )?(?P<sign>>=|<=|==) (?P<bound>\d+(?:\.\d+)?)")
_SIGNS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
}
SIGNIFICANT = 5
"""Digits kept of a figure: more would claim a precision that the machine does not have."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A bound on the ratio, or with `ours` on our own figure. Written `>= 0.8`, `ours == 1`, or ``."""

    sign: str
    bound: float
    of_ours: bool

    @classmethod
    def parse(cls, text: str) -> Wanted | None:
        """The bound that a text names; None for an empty one; raises ValueError for any other."""
        if not text:
            return None
        found = _WANTED.fullmatch(text)
        if found is None:
            raise ValueError(f"wanted {text!r} is not like '>= 0.8', 'ours == 1' or ''")
        return cls(found["sign"], float(found["bound"]), found["ours"] is not None)

    def holds(self, ours: float, ratio: float) -> bool:
        """Whether the bound is kept."""
        return _SIGNS[self.sign](ours if self.of_ours else ratio, self.bound)


@dataclass(frozen=True, slots=True)
class Figure:
    """What one row measured: a figure of each block, ours and theirs in the order of the pairs."""

    row: str
    against: str
    unit: str
    wanted: str
    ours: Sequence[float]
    theirs: Sequence[float]
    note: str = ""
    """How it was measured, where the name alone would mislead."""

    def summary(self) -> Summary:
        """Medians, their ratio, and the quartiles of the ratio pair by pair."""
        if not self.ours or len(self.ours) != len(self.theirs):
            raise ValueError(f"{self.row}: {len(self.ours)} blocks of ours, {len(self.theirs)} of theirs")
        ours, theirs = median(self.ours), median(self.theirs)
        ratio = _rounded(_ratio(ours, theirs))
        wanted = Wanted.parse(self.wanted)
        return Summary(
            row=self.row,
            ours=_rounded(ours),
            against=self.against,
            theirs=_rounded(theirs),
            unit=self.unit,
            ratio=ratio,
            quartiles=quartiles([_ratio(a, b) for a, b in zip(self.ours, self.theirs, strict=True)]),
            wanted=self.wanted,
            holds=None if wanted is None else wanted.holds(ours, ratio),
            blocks=len(self.ours),
            note=self.note,
        )


@dataclass(frozen=True, slots=True)
class Summary:
    """A row as the report and build/bench.json have it. `holds` is None for a row that only informs."""

    row: str
    ours: float
    against: str
    theirs: float
    unit: str
    ratio: float
    quartiles: tuple[float, float, float]
    wanted: str
    holds: bool | None
    blocks: int
    note: str

    def to_json(self) -> dict[str, object]:
        """The row as an object."""
        return asdict(self)


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """First quartile, median and third quartile; a single value is all three."""
    if len(values) == 1:
        low = middle = high = values[0]
    else:
        low, middle, high = quantiles(values, n=4, method="inclusive")
    return _rounded(low), _rounded(middle), _rounded(high)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of the values that at least this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _ratio(ours: float, theirs: float) -> float:
    if theirs:
        return ours / theirs
    return 1.0 if ours == 0 else float("inf")


def _rounded(value: float) -> float:
    return float(f"{value:.{SIGNIFICANT}g}")
