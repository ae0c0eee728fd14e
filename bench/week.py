"""Seven days of an office at a virtual clock: the example application's pages, with and without prediction.

People work on weekdays, at hours of their own. In each session somebody goes back and forth between the list
of projects, or the result of a search, and some projects. Everything that costs SQL is counted: misses,
refreshes, warming. No server takes part: the cache is modelled by its rules (TTL, eager refresh, changes,
refreshes of hot entries); the predictor is the real one. Same seed, same days.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush

from stoker.prediction.activity import ENTRIES_KEPT
from stoker.prediction.contest import DEFAULT
from stoker.prediction.features import Kind
from stoker.prediction.live import Live

DAY_S = 86400.0
BEGIN = 1_704_326_400.0
"""Thursday, 4 January 2024. Two working days and a weekend come before what is counted."""
COUNTED_FROM = BEGIN + 4 * DAY_S
DAYS = 11
PEOPLE, PROJECTS, TEAM = 40, 150, (3, 6)
TTL_S = {"dashboard": 300.0, "detail": 1800.0, "list": 600.0, "search": 1200.0}
BUILD_S = {"dashboard": 0.03, "detail": 0.01, "list": 0.015, "search": 0.02}
KINDS = {view: Kind(number, TTL_S[view]) for number, view in enumerate(TTL_S)}
EAGER = 0.8
SESSIONS = (4, 8)
"""Sessions of somebody on a working day."""
PER_SESSION = (2, 5)
"""Projects that are opened in one."""
SEARCHES, AGAIN, WRITES = 0.3, 0.5, 0.12
"""Probabilities: that a session goes by a search and not by the list; that a detail is opened again after its
dashboard; that the project is changed then."""
WORDS = 4
PRESENT, WEEKEND = 0.9, 0.05
STEP_S = 120.0
IDLE_S, IDLE_STEP_S = 7200.0, 1800.0
"""Where nobody has read for so long, a longer step: the nights would take most of the computing."""
WARM_ACTIVE_S, KEEP_WARM_S = 1800.0, 60.0
MOST_PROJECTS = 20


@dataclass(frozen=True, order=True)
class Act:
    """A read of an entry, or a change of a project."""

    at: float
    person: int
    entry: str
    changes: bool = False


@dataclass
class Played:
    """What was counted in the seven days: reads and hits by view, SQL in seconds by cause."""

    reads: Counter[str] = field(default_factory=Counter)
    hits: Counter[str] = field(default_factory=Counter)
    sql_s: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    in_force: Counter[str] = field(default_factory=Counter)
    """Steps for which each way of choosing was in force."""

    def all_sql_s(self) -> float:
        """Seconds of loading in all."""
        return sum(self.sql_s.values())

    def percent(self, view: str) -> float:
        """Share of the reads of a view that needed no SQL."""
        return 100 * self.hits[view] / max(1, self.reads[view])


class Office:
    """Who works on what, drawn from a seed."""

    def __init__(self, seed: int, days: int = DAYS) -> None:
        self._random = random.Random(seed)
        self.days = days
        self.teams = [
            self._random.sample(range(PEOPLE), self._random.randint(*TEAM)) for _ in range(PROJECTS)
        ]
        self.projects = [
            [number for number, team in enumerate(self.teams) if person in team] for person in range(PEOPLE)
        ]
        self.acts = sorted(self._acts())

    def _acts(self) -> Iterator[Act]:
        starts = [self._random.gauss(8.5, 1.2) for _ in range(PEOPLE)]
        for day in range(self.days):
            works = PRESENT if (day + 3) % 7 < 5 else WEEKEND
            for person in range(PEOPLE):
                if self._random.random() < works:
                    for _ in range(self._random.randint(*SESSIONS)):
                        hour = starts[person] + self._random.uniform(0, 8.5)
                        yield from self._session(person, BEGIN + day * DAY_S + hour * 3600, day)

    def _session(self, person: int, at: float, day: int) -> Iterator[Act]:
        mine = self.projects[person]
        # Some projects are worked on this week; which ones changes from week to week.
        weights = [1 / (1 + (number * 7 + day // 7 * 3) % len(mine)) ** 1.5 for number in range(len(mine))]
        found_by = f"list/{person}"
        if self._random.random() < SEARCHES:
            found_by = f"search/{person}/{self._random.randrange(WORDS)}"
        for number in (
            self._random.choices(mine, weights, k=self._random.randint(*PER_SESSION)) if mine else ()
        ):
            yield Act(at, person, found_by)
            at += self._random.expovariate(1 / 20)
            yield Act(at, person, f"detail/{number}")
            for _ in range(self._random.randint(1, 3)):
                at += self._random.expovariate(1 / 60)
                yield Act(at, person, f"dashboard/{number}")
            if self._random.random() < AGAIN:
                at += self._random.expovariate(1 / 60)
                yield Act(at, person, f"detail/{number}")
            if self._random.random() < WRITES:
                at += self._random.expovariate(1 / 60)
                yield Act(at, person, str(number), changes=True)
                yield Act(at + 1, person, f"dashboard/{number}")
            at += self._random.expovariate(1 / 60)


class Cache:
    """The cache and the worker beside it; with `rate`, prediction within so many seconds a second."""

    def __init__(self, office: Office, rate: float | None, least: float = 0.0) -> None:
        self._office = office
        self._entries: dict[str, tuple[float, float]] = {}  # built at, until when
        self._read_at: dict[str, float] = {}
        self._active: dict[int, float] = {}
        self._planned_at = BEGIN
        self.played = Played()
        self._live = (
            None if rate is None else Live(lambda entry: KINDS[view_of(str(entry))], rate, least=least)
        )

    def play(self) -> Played:
        """Live through the days."""
        ticks: list[tuple[float, str]] = []
        for every, what in ((WARM_ACTIVE_S, "active"), (KEEP_WARM_S, "keep"), (STEP_S, "predict")):
            heappush(ticks, (BEGIN + every, what))
        every_s = {"active": WARM_ACTIVE_S, "keep": KEEP_WARM_S, "predict": STEP_S}
        for act in self._office.acts:
            while ticks[0][0] <= act.at:
                at, what = heappop(ticks)
                heappush(ticks, (at + every_s[what], what))
                self._tick(at, what)
            (self._change if act.changes else self._read)(act)
        return self.played

    def _tick(self, now: float, what: str) -> None:
        in_force = self._live.contest.judgement.in_force if self._live else DEFAULT
        if what == "predict":
            self._predict(now)
        elif in_force == DEFAULT and what == "active":
            for entry in self._plan(now):
                if self._is_old(entry, now):
                    self._build(entry, now, "warm")
        elif in_force == DEFAULT:
            for entry, read_at in list(self._read_at.items()):
                if self._is_wanted(entry, read_at, now) and self._is_old(entry, now):
                    self._build(entry, now, "warm")

    def _plan(self, now: float) -> list[str]:
        """Dashboards of everybody who was active in the last day, in turn."""
        people = sorted(one for one, at in self._active.items() if now - at < DAY_S)
        turns = (
            self._office.projects[one][turn : turn + 1] for turn in range(MOST_PROJECTS) for one in people
        )
        return list(dict.fromkeys(f"dashboard/{number}" for some in turns for number in some))

    def _predict(self, now: float) -> None:
        live = self._live
        if live is None:
            return
        step_s = now - self._planned_at
        if step_s < IDLE_STEP_S and now - max(self._active.values(), default=0.0) > IDLE_S:
            return
        self._planned_at = now
        read = [entry for entry, at in self._read_at.items() if now - at < DAY_S]
        may = list(dict.fromkeys([*self._plan(now), *read]))[:ENTRIES_KEPT]
        chosen = live.plan(now, step_s, may, lambda entry: BUILD_S[view_of(str(entry))])
        stale = [one for one in chosen if self._is_old(str(one.entry), now)]
        for one in stale:
            self._build(str(one.entry), now, "warm")
        kept = set(stale)
        live.built(now, stale, [one for one in chosen if one not in kept], sum(one.cost_s for one in stale))
        if now >= COUNTED_FROM:
            self.played.in_force[live.contest.judgement.in_force] += 1

    def _read(self, act: Act) -> None:
        view, now = view_of(act.entry), act.at
        built_at, until = self._entries.get(act.entry, (0.0, 0.0))
        hit = until > now
        if now >= COUNTED_FROM:
            self.played.reads[view] += 1
            self.played.hits[view] += hit
        if not hit:
            self._build(act.entry, now, "misses")
        elif now - built_at > EAGER * TTL_S[view]:
            self._build(act.entry, now, "refresh")
        self._read_at[act.entry] = self._active[act.person] = now
        if self._live:
            self._live.read(now, f"person-{act.person}", act.entry)

    def _change(self, act: Act) -> None:
        project = int(act.entry)
        people = self._office.teams[project]
        searches = [f"search/{one}/{word}" for one in people for word in range(WORDS)]
        pages = [f"detail/{project}", f"dashboard/{project}", *(f"list/{one}" for one in people), *searches]
        for entry in pages:
            wanted = self._is_wanted(entry, self._read_at.get(entry, 0.0), act.at)
            valid = self._entries.pop(entry, (0.0, 0.0))[1] > act.at
            if self._live:
                self._live.change(act.at, entry)
            if wanted and valid:
                self._build(entry, act.at, "refresh")

    def _is_wanted(self, entry: str, read_at: float, now: float) -> bool:
        """Whether it was read within its TTL and since it was built."""
        built_at, _ = self._entries.get(entry, (0.0, 0.0))
        return now - read_at < TTL_S[view_of(entry)] and read_at >= built_at

    def _is_old(self, entry: str, now: float) -> bool:
        built_at, until = self._entries.get(entry, (0.0, 0.0))
        return until <= now or now - built_at > EAGER * TTL_S[view_of(entry)]

    def _build(self, entry: str, now: float, why: str) -> None:
        view = view_of(entry)
        self._entries[entry] = (now, now + TTL_S[view])
        if now >= COUNTED_FROM:
            self.played.sql_s[why] += BUILD_S[view]


def kind_of(entry: Hashable) -> Kind:
    """How the view of an entry behaves."""
    return KINDS[view_of(str(entry))]


def view_of(entry: str) -> str:
    """The view of an entry as this module writes it."""
    return entry.partition("/")[0]
