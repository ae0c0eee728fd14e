"""The ways to choose what to warm that an evaluation compares. Each gives scores; the higher, the sooner."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from math import log2

from stoker.prediction.activity import FAST_S, SLOW_S, Activities
from stoker.prediction.trace import Trace

Scores = Mapping[Hashable, float]


@dataclass(frozen=True)
class Past:
    """All that a method may know at a time of planning."""

    now: float
    activities: Activities
    predicted: Scores
    """The predictor's probabilities, of entries read in the last two weeks."""


@dataclass(frozen=True)
class Method:
    """One way to choose. With `threshold`, it spends when it pays, and else the same at every planning."""

    name: str
    scores: Callable[[Past], Scores]
    threshold: bool = False


def nothing(_: Past) -> Scores:
    """Warm nothing."""
    return {}


def at_random(past: Past) -> Scores:
    """Any known entry; the same ones in every run."""

    def drawn(entry: Hashable) -> float:
        digest = blake2b(f"{past.now}:{entry}".encode(), digest_size=8).digest()
        return int.from_bytes(digest) / 2**64

    return {entry: drawn(entry) for entry in past.predicted}


def most_recent(past: Past) -> Scores:
    """What was read last."""
    return {entry: found.last for entry, found in past.activities.since(0) if entry in past.predicted}


def active_in_a_day(past: Past) -> Scores:
    """What was read in the last 24 hours, the latest first: the plan that applications begin with."""
    return {entry: found.last for entry, found in past.activities.since(past.now - 86400)}


def fast_count(past: Past) -> Scores:
    """Reads that count half as much after two hours."""
    return {
        entry: found.fast * 2 ** ((found.last - past.now) / FAST_S)
        for entry, found in past.activities.since(past.now - 86400 * 14)
    }


def slow_count(past: Past) -> Scores:
    """Reads that count half as much after a week."""
    return {
        entry: found.slow * 2 ** ((found.last - past.now) / SLOW_S)
        for entry, found in past.activities.since(past.now - 86400 * 14)
    }


def predicted(past: Past) -> Scores:
    """The predictor's probabilities."""
    return past.predicted


def predicted_from(least: float) -> Callable[[Past], Scores]:
    """The predictor's probabilities from a lowest one on."""
    return lambda past: {entry: one for entry, one in past.predicted.items() if one >= least}


def oracle(trace: Trace, within_s: float) -> Method:
    """Knows the future: warms what will be read within this time. No method can do better by much."""
    reads: dict[Hashable, list[float]] = {}
    for time, entry in zip(trace.times, trace.entries, strict=True):
        reads.setdefault(entry, []).append(time)
    changes: dict[Hashable, list[float]] = {}
    for time, entry in trace.changed_entries():
        changes.setdefault(entry, []).append(time)

    def ends(entry: Hashable, now: float) -> float:
        """Until when an entry that is built now would be served."""
        times = changes.get(entry, [])
        at = bisect_left(times, now)
        return min(now + within_s, times[at] if at < len(times) else now + within_s)

    def scores(past: Past) -> Scores:
        found = {}
        for entry, _ in past.activities.since(0):
            times = reads[entry]
            at = bisect_left(times, past.now)
            if at < len(times) and times[at] < ends(entry, past.now):
                found[entry] = 1.0 - log2(1 + times[at] - past.now) / 64
        return found

    return Method(ORACLE, scores, threshold=True)


def all_methods(trace: Trace, within_s: float, least: float = 0.0) -> list[Method]:
    """What an evaluation compares, from nothing to the oracle. With `least`, also a careful predictor."""
    careful = [Method(careful_name(least), predicted_from(least), threshold=True)] if least else []
    return [
        Method("none", nothing),
        Method("random", at_random),
        Method("most recent", most_recent),
        Method("active in 24 h", active_in_a_day),
        Method("fast count", fast_count),
        Method("slow count", slow_count),
        Method(COUNTED, fast_count, threshold=True),
        Method("slow count, threshold", slow_count, threshold=True),
        Method(PREDICTED, predicted, threshold=True),
        *careful,
        oracle(trace, within_s),
    ]


def careful_name(least: float) -> str:
    """The predictor where it warms nothing below a probability."""
    return f"{PREDICTED}, from {least:g} on"


PREDICTED = "predicted"
COUNTED = "fast count, threshold"
ORACLE = "oracle"
DEFAULT_PLAN = "active in 24 h"
NONE = "none"
