"""Real changes of the sample data, and the stamps that each makes wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import text

from jobs.scopes import PROJECT
from stoker import EntryKey, Stoker

PROJECTS = text("""
SELECT DISTINCT ON (d.project_id) d.project_id, d.id, p.owner_id
  FROM predicate_devices d JOIN projects p ON p.id = d.project_id
 ORDER BY d.project_id, d.id LIMIT :count
""")


@dataclass(frozen=True, slots=True)
class Change:
    """A predicate device of a project that its owner may correct; `stamp` is the dashboard's."""

    project: int
    predicate: int
    owner: int
    stamp: str


async def changes(stoker: Stoker, count: int) -> list[Change]:
    """Changes of as many different projects."""
    async with stoker.session() as session:
        rows = (await session.execute(PROJECTS, {"count": count})).tuples().all()
    keys = stoker.cache.store.keys
    found = [
        Change(project, predicate, owner, keys.stamp(PROJECT.scope(project), "dashboard"))
        for project, predicate, owner in rows
    ]
    if len(found) < count:
        raise ValueError(f"the sample data has {len(found)} projects, not {count}")
    return found


async def stamp(stoker: Stoker, wanted: Sequence[Change]) -> None:
    """Give the dashboards of these projects stamps, as a read that misses does."""
    store = stoker.cache.store
    names = [store.keys.entry(EntryKey("dashboard", PROJECT.scope(one.project))) for one in wanted]
    for start in range(0, len(names), 500):
        await store.begin(names[start : start + 500])
