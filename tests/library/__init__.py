"""Another domain, as small as it gets: shelves with books. Declared with the public names of `stoker` only.

Two tables, two views, two events, a scope kind of its own whose ids are text. Set `STOKER__DOMAIN` to this
package, and worker, API and CLI serve it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, Field
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from stoker import Access, Domain, EntryKey, Event, Invalidation, Rule, Scope, ScopeKind, View, WarmPlan

SHELF = ScopeKind("shelf", str)


class ShelfRenamed(Event):
    """A shelf has another label."""

    kind: ClassVar[str] = "shelf.renamed"
    shelf: str


class BookAdded(Event):
    """A book stands on a shelf now: its label stays as it is."""

    kind: ClassVar[str] = "book.added"
    shelf: str


class Page(BaseModel):
    """Which titles of a shelf."""

    limit: int = Field(default=10, ge=1, le=100)


async def load_labels(session: AsyncSession, keys: Sequence[EntryKey]) -> Mapping[EntryKey, Any]:
    """Labels of shelves."""
    found = await session.execute(
        text("SELECT id, label FROM shelves WHERE id = ANY(:ids)"), {"ids": [key.scope.id for key in keys]}
    )
    labels: dict[str, str] = dict(found.all())
    return {key: {"label": labels[key.scope.id]} for key in keys if key.scope.id in labels}


async def load_titles(session: AsyncSession, keys: Sequence[EntryKey]) -> Mapping[EntryKey, Any]:
    """Titles on shelves, in order."""
    found = await session.execute(
        text("SELECT shelf_id, title FROM books WHERE shelf_id = ANY(:ids) ORDER BY shelf_id, title"),
        {"ids": [key.scope.id for key in keys]},
    )
    titles: dict[str, list[str]] = {}
    for shelf_id, title in found:
        titles.setdefault(shelf_id, []).append(title)
    return {key: titles.get(key.scope.id, [])[: TITLES.params_of(key).limit] for key in keys}


LABEL = View("label", "shelf", load_labels, access=Access.ANYONE)
TITLES = View("titles", "shelf", load_titles, params=Page, access=Access.ANYONE)


async def entries(session: AsyncSession, shelf: Scope | None) -> Sequence[EntryKey]:
    """Every view of one shelf, or of all."""
    found = await session.scalars(text("SELECT id FROM shelves ORDER BY id"))
    shelves = [shelf] if shelf else [SHELF.scope(shelf_id) for shelf_id in found]
    return [view.key(one) for one in shelves for view in (LABEL, TITLES)]


domain = Domain(
    name="library",
    scopes=(SHELF,),
    views=(LABEL, TITLES),
    rules=(
        Rule(
            ShelfRenamed,
            lambda event: [Invalidation(SHELF.scope(event.shelf))],
            covers=("shelves.id", "shelves.label"),
        ),
        Rule(
            BookAdded,
            lambda event: [Invalidation(SHELF.scope(event.shelf), frozenset({"titles"}))],
            covers=("books.shelf_id", "books.title"),
        ),
    ),
    warm_plans=(WarmPlan("active", entries), WarmPlan("shelf", entries)),
    migrations=Path(__file__).parent / "migrations",
)
