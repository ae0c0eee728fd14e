"""The stage of the replayed week: rows for the made-up office, a clock that the replay sets, and the meters.

The cache's time is Stoker's only clock that matters for hits: ages of entries, times of reads, hours of the
predictor. Stoker derives it from the cache server's clock (`ServerRun.now_us`); the replay replaces that one
function. Servers, SQL, scripts and jobs are real.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

import jobs
from bench.week import BEGIN, BUILD_S, DAY_S, Office
from jobs.queries.warm import active_users, warm_order
from jobs.scopes import PROJECT
from jobs.views import ACCESS, DASHBOARD
from jobs.warming import PROJECTS_PER_USER
from stoker import Domain, EntryKey, Scope, View, WarmPlan
from stoker.queue import refreshes
from stoker.redis.connection import ServerRun

MISSES, REFRESH, WARM = "misses", "refresh", "warm"
LEAVE_PROJECTS = text("DELETE FROM projects WHERE id > :projects")
LEAVE_MEMBERS = text("DELETE FROM project_members")
OWN = text("UPDATE projects SET owner_id = :owner WHERE id = :project")
JOIN = text("INSERT INTO project_members (project_id, user_id, role) VALUES (:project, :user, :role)")


class Clock:
    """The cache's time as the replay sets it, in seconds since 1970, and when it was set to what."""

    def __init__(self) -> None:
        self.now = BEGIN
        self._simulated = [BEGIN]
        self._real = [datetime.now(UTC)]

    def set(self, at: float) -> None:
        """Jump; never back."""
        self.now = max(self.now, at)
        if self.now >= self._simulated[-1] + 60:
            self._simulated.append(self.now)
            self._real.append(datetime.now(UTC))

    def since(self, at: float) -> timedelta:
        """How long ago in reality the clock stood at a time."""
        return datetime.now(UTC) - self._real[max(0, bisect_right(self._simulated, at) - 1)]

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Everything in this process takes it for the cache's time.

        Refreshes that were asked for within two real seconds are asked for again: that is minutes here.
        """
        with (
            patch.object(ServerRun, "now_us", lambda _: round(self.now * 1e6)),
            patch.object(refreshes, "ASK_AGAIN_S", 0.0),
        ):
            yield


@dataclass
class Loads:
    """What loading cost since counting began: entries by cause and view, and seconds in the loaders."""

    clock: Clock
    counted_from: float
    cause: str = MISSES
    entries: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    took_s: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    def metered(self, view: View) -> View:
        """The view, whose loader is counted."""

        async def load(session: AsyncSession, keys: Sequence[EntryKey]) -> Mapping[EntryKey, Any]:
            began = time.perf_counter()
            found = await view.load(session, keys)
            if self.clock.now >= self.counted_from:
                self.entries[self.cause][view.name] += len(keys)
                self.took_s[self.cause] += time.perf_counter() - began
            return found

        return replace(view, load=load)

    def model_s(self, cause: str) -> float:
        """The entries at the prices of the model."""
        return sum(count * BUILD_S[view] for view, count in self.entries[cause].items())


def domain(clock: Clock, loads: Loads) -> Domain:
    """The example application, metered; `active` is asked at the simulated time."""
    active = WarmPlan("active", _active(clock))
    others = tuple(one for one in jobs.domain.warm_plans if one.target != active.target)
    views = tuple(loads.metered(view) for view in jobs.domain.views)
    return replace(jobs.domain, views=views, warm_plans=(active, *others))


def _active(clock: Clock) -> Callable[[AsyncSession, Scope | None], Any]:
    """The application's own plan; rows have real times, so "the last day" is what was written in it."""

    async def entries(session: AsyncSession, _scope: Scope | None) -> Sequence[EntryKey]:
        users = await active_users(session, clock.since(clock.now - DAY_S))
        projects = await warm_order(session, users, PROJECTS_PER_USER)
        scopes = [PROJECT.scope(number) for number in projects]
        return [view.key(scope) for scope in scopes for view in (ACCESS, DASHBOARD)]

    return entries


async def furnish(connection: AsyncConnection, office: Office) -> None:
    """Give the sample data the teams of the office; the first of a team owns its project."""
    await connection.execute(LEAVE_PROJECTS, {"projects": len(office.teams)})
    await connection.execute(LEAVE_MEMBERS)
    teams = [(project + 1, [one + 1 for one in team]) for project, team in enumerate(office.teams)]
    await connection.execute(OWN, [{"owner": team[0], "project": project} for project, team in teams])
    members = [
        {"project": project, "user": user, "role": "editor" if place else "owner"}
        for project, team in teams
        for place, user in enumerate(team)
    ]
    await connection.execute(JOIN, members)
