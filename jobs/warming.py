"""The entries that are worth building before anybody asks, most urgent first.

`queries/warm_order.sql` spells the priority out. Users take turns, so that every user's first project comes
before any user's second.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from jobs.queries.warm import active_users, warm_order
from jobs.scopes import PROJECT
from jobs.views import ACCESS, DASHBOARD, DETAIL, EXPORT, LIST, STATS
from stoker import EntryKey, Scope, WarmPlan

ACTIVE_WITHIN = timedelta(hours=24)
"""How long a user counts as active after the last project activity."""
PROJECTS_PER_USER = 20
"""Projects that are warmed for one user. More of them: longer warming, for pages that few users read."""


async def active(session: AsyncSession, _scope: Scope | None) -> Sequence[EntryKey]:
    """Dashboards of everybody who is active now."""
    user_ids = await active_users(session, ACTIVE_WITHIN)
    return _pages(await warm_order(session, user_ids, PROJECTS_PER_USER))


async def user(session: AsyncSession, scope: Scope | None) -> Sequence[EntryKey]:
    """First page, figures and dashboards of one user."""
    if scope is None:
        return []
    ids = await warm_order(session, [scope.number], PROJECTS_PER_USER)
    return [LIST.key(scope), STATS.key(scope), *_pages(ids)]


async def project(_session: AsyncSession, scope: Scope | None) -> Sequence[EntryKey]:
    """Every plain entry of one project."""
    return [] if scope is None else [view.key(scope) for view in (ACCESS, DASHBOARD, DETAIL, EXPORT)]


def _pages(project_ids: Iterable[int]) -> list[EntryKey]:
    # A dashboard is a hit only together with the access entry that guards it.
    scopes = [PROJECT.scope(number) for number in project_ids]
    return [view.key(scope) for scope in scopes for view in (ACCESS, DASHBOARD)]


WARM_PLANS = (WarmPlan("active", active), WarmPlan("user", user), WarmPlan("project", project))
