"""Which entries will be read before they expire: learnt from what was read and what was not.

At each planning a sample of the entries is noted with its features. A read settles an entry's notes as
"read", the end of the TTL as "not read". Whether the entry was warmed plays no part.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Hashable
from dataclasses import dataclass
from datetime import UTC, tzinfo
from random import Random

from stoker.prediction.activity import Activities, Activity
from stoker.prediction.features import BINS, Moment, bins, moment
from stoker.prediction.regression import Regression

FORGOTTEN_S = 14 * 86400.0
"""Entries that were not read for this long are not predicted."""
NOTED = 300
"""Examples noted at one planning, about."""
LIKELY = 0.003
"""Entries are noted in proportion to their probability, but those below this as if they had it."""
HEAVIEST = 20.0
"""The most that one example may stand for: a bound on what one surprise can do to the weights."""


@dataclass(slots=True)
class _Example:
    bins: tuple[int, ...]
    weight: float
    settled: bool = False


class Predictor:
    """Probabilities that entries are read within the TTL. Times are seconds since 1970 and never go back."""

    def __init__(self, ttl_s: float, zone: tzinfo = UTC, *, seed: int = 0) -> None:
        self.activities = Activities()
        self.regression = Regression(BINS)
        self._ttl_s = ttl_s
        self._zone = zone
        self._random = Random(seed)  # noqa: S311 - which examples are noted is no secret
        self._open: defaultdict[Hashable, list[_Example]] = defaultdict(list)
        self._ends: deque[tuple[float, Hashable, _Example]] = deque()

    def read(self, now: float, reader: Hashable, entry: Hashable) -> None:
        """A reader has read an entry."""
        for example in self._open.pop(entry, ()):
            self._settle(example, read=True)
        self.activities.read(now, reader, entry)

    def predict(self, now: float) -> dict[Hashable, float]:
        """The probability of each known entry; it also learns from what has expired, and notes examples."""
        self._expire(now)
        at = moment(self.activities, now, self._zone)
        known = {entry: self._bins(one, at) for entry, one in self.activities.since(now - FORGOTTEN_S)}
        found = {entry: self.regression.probability(one) for entry, one in known.items()}
        self._note(now, known, found)
        return found

    def _bins(self, found: Activity, at: Moment) -> tuple[int, ...]:
        return bins(found, at, self.activities.last_by_reader.get(found.reader))

    def _note(self, now: float, known: dict[Hashable, tuple[int, ...]], found: dict[Hashable, float]) -> None:
        total = sum(max(LIKELY, one) for one in found.values())
        for entry, probability in found.items():
            noted = min(1.0, NOTED * max(LIKELY, probability) / total)
            if self._random.random() < noted:
                example = _Example(known[entry], min(HEAVIEST, 1 / noted))
                self._open[entry].append(example)
                self._ends.append((now + self._ttl_s, entry, example))

    def _expire(self, now: float) -> None:
        while self._ends and self._ends[0][0] <= now:
            _, entry, example = self._ends.popleft()
            if not example.settled:
                self._settle(example, read=False)
                self._open[entry].remove(example)
                if not self._open[entry]:
                    del self._open[entry]

    def _settle(self, example: _Example, *, read: bool) -> None:
        example.settled = True
        self.regression.learn(example.bins, read=read, weight=example.weight)
