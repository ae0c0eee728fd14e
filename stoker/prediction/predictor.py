"""Which entries will be read before they expire or change: learnt from what was read and what was not.

At each planning a sample of the entries is noted with its features. A read settles an entry's notes as
"read"; a change, or the end of the time for which it would have been served, as "not read". Whether the entry
was warmed plays no part.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from datetime import UTC, tzinfo
from heapq import heappop, heappush
from random import Random

from stoker.prediction.activity import Activities, Activity
from stoker.prediction.calibration import Calibration
from stoker.prediction.features import BINS, Kind, Moment, bins, moment
from stoker.prediction.regression import Regression

FORGOTTEN_S = 14 * 86400.0
"""Entries that were not read for this long are not predicted."""
NOTED = 300
"""Examples noted at one planning of half an hour or more, about; fewer at shorter ones."""
NOTED_AT_LEAST = 30
LIKELY = 0.003
"""Entries are noted in proportion to their probability, but those below this as if they had it."""
HEAVIEST = 20.0
"""The most that one example may stand for: a bound on what one surprise can do to the weights."""
NEVER_READ = Activity(0.0)
"""Of an entry that a warm plan names and that nobody is known to have read."""


@dataclass(slots=True)
class Example:
    """One prediction that waits for what becomes of it."""

    bins: tuple[int, ...]
    weight: float
    probability: float
    """As the regression gave it, before it was corrected by the calibration."""
    ends: float
    settled: bool = False


class Predictor:
    """Probabilities that entries are read while they are served. Seconds since 1970, which never go back."""

    def __init__(self, kind_of: Callable[[Hashable], Kind], zone: tzinfo = UTC, *, seed: int = 0) -> None:
        self.activities = Activities(zone)
        self.regression = Regression(BINS)
        self.calibration = Calibration()
        self.kind_of = kind_of
        self._random = Random(seed)  # noqa: S311 - which examples are noted is no secret
        self.open: dict[Hashable, list[Example]] = {}
        self._ends: list[tuple[float, int, Hashable, Example]] = []
        self._number = 0  # of an example: two that end at once are not compared further

    def read(self, now: float, reader: Hashable, entry: Hashable) -> bool:
        """A reader has read an entry. False if it is ignored, as part of a flood."""
        if not self.activities.read(now, reader, entry):
            return False
        self._settle_all(now, entry, read=True)
        return True

    def change(self, now: float, entry: Hashable) -> None:
        """An entry was invalidated: what had been warmed would be in vain from now on."""
        self._settle_all(now, entry, read=False)
        self.activities.change(now, entry)

    def predict(
        self, now: float, also: Iterable[Hashable] = (), step_s: float = 1800.0
    ) -> dict[Hashable, float]:
        """The probability of each known entry, and of `also`, which may be unknown.

        It also learns from what has expired, and notes examples.
        """
        self._expire(now)
        at = moment(self.activities, now)
        known = {entry: self._bins(entry, one, at) for entry, one in self.activities.since(now - FORGOTTEN_S)}
        for entry in also:
            if entry not in known:
                known[entry] = self._bins(entry, self._activity(entry), at)
        found = {entry: self.regression.probability(one) for entry, one in known.items()}
        self._note(now, known, found, max(NOTED_AT_LEAST, NOTED * min(1.0, step_s / 1800)))
        corrected = self.calibration.curve()
        return {entry: corrected(one) for entry, one in found.items()}

    def bins_of(self, now: float, entry: Hashable) -> tuple[int, ...]:
        """The features of one entry, for an explanation."""
        return self._bins(entry, self._activity(entry), moment(self.activities, now))

    def wait_for(self, entry: Hashable, example: Example) -> None:
        """Settle this example later; used by `predict`, and where examples are restored."""
        self._number += 1
        self.open.setdefault(entry, []).append(example)
        heappush(self._ends, (example.ends, self._number, entry, example))

    def _activity(self, entry: Hashable) -> Activity:
        return self.activities.get(entry) or NEVER_READ

    def _bins(self, entry: Hashable, found: Activity, at: Moment) -> tuple[int, ...]:
        return bins(found, at, self.activities.last_by_reader.get(found.reader), self.kind_of(entry))

    def _note(
        self,
        now: float,
        known: dict[Hashable, tuple[int, ...]],
        found: dict[Hashable, float],
        wanted: float,
    ) -> None:
        total = sum(max(LIKELY, one) for one in found.values())
        random = self._random.random
        for entry, probability in found.items():
            noted = wanted * max(LIKELY, probability) / total
            if random() < noted:
                ends = now + self.kind_of(entry).life_s
                weight = min(HEAVIEST, max(1.0, 1 / noted))
                self.wait_for(entry, Example(known[entry], weight, probability, ends))

    def _expire(self, now: float) -> None:
        while self._ends and self._ends[0][0] <= now:
            _, _, entry, example = heappop(self._ends)
            if not example.settled:
                self._settle(example, read=False)
                self.open[entry].remove(example)
                if not self.open[entry]:
                    del self.open[entry]

    def _settle_all(self, now: float, entry: Hashable, *, read: bool) -> None:
        for example in self.open.pop(entry, ()):
            self._settle(example, read=read and now < example.ends)

    def _settle(self, example: Example, *, read: bool) -> None:
        example.settled = True
        self.calibration.note(example.probability, read=read)
        self.regression.learn(example.bins, read=read, weight=example.weight)
