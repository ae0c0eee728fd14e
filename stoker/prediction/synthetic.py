"""Made-up traces of an office: to try the evaluation where no trace of a real application is at hand.

People work on weekdays, each at hours of their own. A topic lives for some weeks, has a few members, and is
read more when it is new, and changes now and then. Some hours draw everybody to one topic. The office drifts:
each week some people are replaced by others, with hours of their own. Same seed, same trace.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random

from stoker.prediction.trace import Trace, TraceWriter

BEGIN = datetime(2024, 1, 1, tzinfo=UTC)
"""A Monday."""
BUILD_S = {"dashboard": 0.03, "detail": 0.01}
WORKDAYS = 5
PRESENT, WEEKEND = 0.9, 0.05
"""Probabilities that somebody comes on a working day, and on another."""
VISIT_READS = 4
"""Mean number of topics that somebody opens in one visit."""
VISITS = 5
"""Mean number of visits on a working day."""
LEAVE = 0.05
"""Probability that somebody is replaced in a week."""
CHANGED = 0.05
"""Probability that a visit changes the topic that it opened last."""
BURST = 0.03
"""Probability that an hour is a burst."""


@dataclass(frozen=True)
class Office:
    """How large the office is, and for how long it is watched."""

    people: int = 100
    topics: int = 300
    days: int = 28


@dataclass(frozen=True)
class _Topic:
    begins: float
    ends: float
    members: tuple[int, ...]


def made_up(office: Office, seed: int) -> Trace:
    """A trace of an office; entries are dashboards of people and details of topics."""
    random = Random(seed)  # noqa: S311 - a made-up trace, no secret
    topics = [_topic(office, random) for _ in range(office.topics)]
    starts = [random.gauss(9, 1.5) for _ in range(office.people)]
    writer = TraceWriter()
    for day in range(office.days):
        bursts = {hour: random.randrange(office.topics) for hour in range(24) if random.random() < BURST}
        if day and day % 7 == 0:
            starts = [random.gauss(9, 1.5) if random.random() < LEAVE else one for one in starts]
        for person, start in enumerate(starts):
            if random.random() < (PRESENT if day % 7 < WORKDAYS else WEEKEND):
                _working_day(writer, random, topics, bursts, (day, person, start))
    return writer.trace()


def _topic(office: Office, random: Random) -> _Topic:
    begins = random.uniform(-20, office.days)
    members = tuple(random.sample(range(office.people), k=min(office.people, random.randint(2, 8))))
    return _Topic(begins, begins + random.expovariate(1 / 15), members)


def _working_day(
    writer: TraceWriter,
    random: Random,
    topics: list[_Topic],
    bursts: dict[int, int],
    whose: tuple[int, int, float],
) -> None:
    day, person, start = whose
    own = [
        (number, 1 / (1 + day - topic.begins))
        for number, topic in enumerate(topics)
        if person in topic.members and topic.begins <= day < topic.ends
    ]
    for _ in range(1 + int(random.expovariate(1 / VISITS))):
        hour = min(23.9, max(0.0, start + random.uniform(0, 9)))
        at = (BEGIN + timedelta(days=day, hours=hour)).timestamp()
        writer.add(at, f"person-{person}", f"user:{person}/dashboard", BUILD_S["dashboard"])
        opened = (
            random.choices(*zip(*own, strict=True), k=1 + int(random.expovariate(1 / VISIT_READS)))
            if own
            else []
        )
        if int(hour) in bursts:
            opened.append(bursts[int(hour)])
        for topic in opened:
            at += random.expovariate(1 / 40)
            writer.add(at, f"person-{person}", f"topic:{topic}/detail", BUILD_S["detail"])
        if opened and random.random() < CHANGED:
            writer.change(at + 30, f"topic:{opened[-1]}")
