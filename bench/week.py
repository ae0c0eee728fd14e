"""Seven days of an office at a virtual clock: the example application's pages, with and without prediction.

People work on weekdays, at hours of their own. In each session somebody goes back and forth between the list
of projects, or the result of a search, and some projects. Everything that costs SQL is counted: misses,
refreshes, warming. No server takes part: the cache is modelled by its rules (TTL, eager refresh, changes,
refreshes of hot entries); the predictor is the real one. Same seed, same days.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import NamedTuple

from stoker.prediction.activity import ENTRIES_KEPT
from stoker.prediction.contest import DEFAULT
from stoker.prediction.features import Kind
from stoker.prediction.live import Live

DAY_S = 86400.0
BEGIN = 1_704_326_400.0
"""Thursday, 4 January 2024. Two working days and a weekend come before what is counted."""
LEAD_DAYS, DAYS = 4, 11
"""Days that are not counted, and all days."""
PEOPLE, PROJECTS, TEAM = 40, 150, (3, 6)
TTL_S = {"dashboard": 300.0, "detail": 1800.0, "list": 600.0, "search": 1200.0, "access": 1800.0}
BUILD_S = {"dashboard": 0.03, "detail": 0.01, "list": 0.015, "search": 0.02, "access": 0.002}
PREDICTED = ("dashboard", "detail", "list", "search")
KINDS = {view: Kind(number, TTL_S[view]) for number, view in enumerate(PREDICTED)}
EAGER, JITTER = 0.8, 0.1
"""`cache.eager_refresh` and `cache.ttl_jitter`."""
MARGIN_S = 4.0
"""Two flushes: a worker takes what was read so shortly before a build for read after it."""
GUARDED = ("dashboard", "detail")
"""A hit needs the access entry of the project, too."""
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
ACTIVE, KEEP, PREDICT = "active", "keep", "predict"
"""What a worker does by the clock."""
MOST_PROJECTS = 20


@dataclass(frozen=True, order=True)
class Act:
    """A read of an entry, or a change of a project."""

    at: float
    person: int
    entry: str
    changes: bool = False


class Tick(NamedTuple):
    """A slot of the schedule, or a step of prediction that covers the last `step_s` seconds."""

    at: float
    what: str
    step_s: float


class Built(NamedTuple):
    """When an entry was built, until when it is served, and from when on a read asks for a refresh."""

    at: float
    until: float
    eager: float


NEVER = Built(0.0, 0.0, 0.0)


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

    def __init__(self, seed: int, days: int = DAYS, lead_days: int = LEAD_DAYS) -> None:
        self._random = random.Random(seed)
        self.days = days
        self.counted_from = BEGIN + lead_days * DAY_S
        self.counted_s = (days - lead_days) * DAY_S
        self.teams = [
            self._random.sample(range(PEOPLE), self._random.randint(*TEAM)) for _ in range(PROJECTS)
        ]
        self.projects = [
            [number for number, team in enumerate(self.teams) if person in team] for person in range(PEOPLE)
        ]
        self.acts = sorted(self._acts())

    def owner(self, project: int) -> int:
        """The first of its team."""
        return self.teams[project][0]

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


def timeline(acts: Iterable[Act]) -> Iterator[Act | Tick]:
    """The acts, and what a worker does between them, in the order of time.

    Left out: runs of keep-warm where nothing was read for so long that nothing is in demand, and most steps
    of prediction at night.
    """
    every_s = {ACTIVE: WARM_ACTIVE_S, KEEP: KEEP_WARM_S, PREDICT: STEP_S}
    ticks: list[tuple[float, str]] = []
    for what, every in every_s.items():
        heappush(ticks, (BEGIN + every, what))
    planned_at, read_at = BEGIN, 0.0
    for act in acts:
        while ticks[0][0] <= act.at:
            at, what = heappop(ticks)
            heappush(ticks, (at + every_s[what], what))
            quiet_s, step_s = at - read_at, every_s[what]
            if what == PREDICT:
                step_s = at - planned_at
                if step_s < IDLE_STEP_S and quiet_s > IDLE_S:
                    continue
                planned_at = at
            if what != KEEP or quiet_s < max(TTL_S.values()):
                yield Tick(at, what, step_s)
        if not act.changes:
            read_at = act.at
        yield act


class Cache:
    """The cache and the worker beside it; with `rate`, prediction within so many seconds a second."""

    def __init__(self, office: Office, rate: float | None, least: float = 0.0) -> None:
        self._office = office
        self._random = random.Random(0)
        self._entries: dict[str, Built] = {}
        self._read_at: dict[str, float] = {}
        self._changed_at: dict[int, float] = {}
        self.played = Played()
        self._live = (
            None if rate is None else Live(lambda entry: KINDS[view_of(str(entry))], rate, least=least)
        )

    def play(self) -> Played:
        """Live through the days."""
        for one in timeline(self._office.acts):
            if isinstance(one, Tick):
                self._tick(one)
            elif one.changes:
                self._change(one)
            else:
                self._read(one)
        return self.played

    def _tick(self, tick: Tick) -> None:
        now, what = tick.at, tick.what
        in_force = self._live.contest.judgement.in_force if self._live else DEFAULT
        if what == PREDICT:
            self._predict(now, tick.step_s)
        elif in_force == DEFAULT and what == ACTIVE:
            for entry in self._plan(now):
                self._warm(entry, now)
        elif in_force == DEFAULT:
            for entry, read_at in list(self._read_at.items()):
                if self._is_wanted(entry, read_at, now):
                    self._warm(entry, now)

    def _plan(self, now: float) -> list[str]:
        """Dashboards of everybody whose project was changed in the last day, in turn."""
        changed = [project for project, at in self._changed_at.items() if now - at < DAY_S]
        people = sorted({self._office.owner(project) for project in changed})
        turns = (
            self._office.projects[one][turn : turn + 1] for turn in range(MOST_PROJECTS) for one in people
        )
        return list(dict.fromkeys(f"dashboard/{number}" for some in turns for number in some))

    def _predict(self, now: float, step_s: float) -> None:
        live = self._live
        if live is None:
            return
        lately = [entry for entry, at in self._read_at.items() if now - at < DAY_S]
        read = [entry for entry in lately if view_of(entry) in PREDICTED]
        may = list(dict.fromkeys([*self._plan(now), *read]))[:ENTRIES_KEPT]
        chosen = live.plan(now, step_s, may, lambda entry: BUILD_S[view_of(str(entry))])
        stale = [one for one in chosen if self._is_old(str(one.entry), now)]
        for one in stale:
            self._warm(str(one.entry), now)
        kept = set(stale)
        live.built(now, stale, [one for one in chosen if one not in kept], sum(one.cost_s for one in stale))
        if now >= self._office.counted_from:
            self.played.in_force[live.contest.judgement.in_force] += 1

    def _read(self, act: Act) -> None:
        view, now = view_of(act.entry), act.at
        missing = [one for one in with_guard(act.entry) if self._built(one).until <= now]
        hit = not missing
        if now >= self._office.counted_from:
            self.played.reads[view] += 1
            self.played.hits[view] += hit
        for one in missing:
            self._build(one, now, "misses")
        if hit and self._is_old(act.entry, now):
            self._build(act.entry, now, "refresh")
        self._read_at |= dict.fromkeys(with_guard(act.entry), now)
        if self._live:
            self._live.read(now, f"person-{act.person}", act.entry)

    def _change(self, act: Act) -> None:
        project = int(act.entry)
        self._changed_at[project] = act.at
        people = self._office.teams[project]
        searches = [f"search/{one}/{word}" for one in people for word in range(WORDS)]
        pages = [f"detail/{project}", f"dashboard/{project}", *(f"list/{one}" for one in people), *searches]
        for entry in pages:
            wanted = self._is_wanted(entry, self._read_at.get(entry, 0.0), act.at)
            built = self._built(entry)
            self._entries[entry] = Built(built.at, 0.0, 0.0)
            if self._live:
                self._live.change(act.at, entry)
            # Only entries without parameters are refreshed after a change.
            if wanted and built.until > act.at and view_of(entry) != "search":
                self._build(entry, act.at, "refresh")

    def _is_wanted(self, entry: str, read_at: float, now: float) -> bool:
        """Whether it was read within its TTL and since it was built."""
        return now - read_at < TTL_S[view_of(entry)] and read_at >= self._built(entry).at - MARGIN_S

    def _is_old(self, entry: str, now: float) -> bool:
        return self._built(entry).eager <= now

    def _built(self, entry: str) -> Built:
        return self._entries.get(entry, NEVER)

    def _warm(self, entry: str, now: float) -> None:
        for one in with_guard(entry):
            if self._is_old(one, now):
                self._build(one, now, "warm")

    def _build(self, entry: str, now: float, why: str) -> None:
        view = view_of(entry)
        shortened = 1 - JITTER * self._random.random()
        life_s = TTL_S[view] * shortened
        self._entries[entry] = Built(now, now + life_s, now + life_s * EAGER * shortened)
        if now >= self._office.counted_from:
            self.played.sql_s[why] += BUILD_S[view]


def kind_of(entry: Hashable) -> Kind:
    """How the view of an entry behaves."""
    return KINDS[view_of(str(entry))]


def with_guard(entry: str) -> tuple[str, ...]:
    """The entry, and the access entry without which it is no hit."""
    view, _, project = entry.partition("/")
    return (entry, f"access/{project}") if view in GUARDED else (entry,)


def view_of(entry: str) -> str:
    """The view of an entry as this module writes it."""
    return entry.partition("/")[0]
