"""Compare a scope's entries with SQL on demand: match or diff. Nothing is healed, published or invalidated.

Costs Postgres one build of each entry. Raises UnknownScope, UnknownView, CacheUnavailable or
DatabaseUnavailable.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from pydantic import BaseModel

from stoker.cache.verdicts import Verdict
from stoker.cache.view import EntryKey
from stoker.handlers.verify import Compared, compare_entries
from stoker.operations.audit import Actor, act
from stoker.operations.cache import invalidation_of
from stoker.operations.entries import scope_keys
from stoker.stoker import Stoker

MOST = 100
"""Entries of one comparison."""


class Match(StrEnum):
    """What a comparison showed of one entry."""

    MATCHES = "matches"
    DIFFERS = "differs"
    """It is served, SQL says something else, and every recorded change is applied."""
    CHANGED = "changed meanwhile"
    """It differed, and was invalidated or rebuilt before the comparison ended."""
    UNDECIDED = "undecided"
    """It differs, and a recorded change that may explain it is not applied yet."""
    NOT_SERVED = "not cached"
    """A read would build it, so there is nothing to compare."""


MATCHES = {
    Verdict.RIGHT: Match.MATCHES,
    Verdict.STALE: Match.DIFFERS,
    Verdict.CHANGED: Match.CHANGED,
    Verdict.UNDECIDED: Match.UNDECIDED,
}


class EntryCompared(BaseModel):
    """One entry. `differs`: places, no values; `suspects`: rows that were written since it was built."""

    view: str
    params: str
    match: Match
    age_s: float | None = None
    differs: list[str] = []
    suspects: list[str] = []


class Comparison(BaseModel):
    """A scope's entries, compared with SQL. `differing`: how many differ."""

    scope: str
    entries: list[EntryCompared]
    differing: int


async def compare(
    stoker: Stoker, actor: Actor, kind: str, scope_id: object, views: Sequence[str] = ()
) -> Comparison:
    """Compare the entries without parameters, and others of the scope that were read lately."""
    scope = invalidation_of(stoker.domain, kind, scope_id, views).scope
    keys = [key for key in await scope_keys(stoker, scope) if stoker.domain.takes(key)]
    keys = [key for key in keys if not views or key.view in views][:MOST]
    await act(stoker, actor, "cache.compare", {"scope": str(scope), "views": sorted(views)})
    found = await compare_entries(stoker, keys)
    entries = [_compared(key, found) for key in keys]
    return Comparison(scope=str(scope), entries=entries, differing=len(found.stale))


def _compared(key: EntryKey, found: Compared) -> EntryCompared:
    verdict, stale = found.verdicts.get(key), found.stale.get(key)
    match = Match.NOT_SERVED if verdict is None else MATCHES[verdict]
    if stale is None:
        return EntryCompared(view=key.view, params=key.params, match=match)
    return EntryCompared(
        view=key.view,
        params=key.params,
        match=match,
        age_s=round(stale.age.total_seconds(), 1),
        differs=stale.differs,
        suspects=stale.suspects,
    )
