"""The tests' second domain under chaos: shelves that are renamed, books that replace each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from stoker import Domain, EntryKey, Scope, Stoker, WarmPlan
from stoker.chaos import Change, Probe
from tests.library import LABEL, SHELF, BookAdded, ShelfRenamed

SHELVES = [f"S-{number}" for number in range(8)]


class LibraryWorkload:
    """Labels and titles are numbers that only grow."""

    domain = "tests.library"

    async def prepare(self, database_url: str, seed: int) -> None:
        """Some shelves with a book each."""
        engine = create_async_engine(database_url)
        async with engine.begin() as connection:
            for shelf in SHELVES:
                await connection.execute(text("INSERT INTO shelves VALUES (:id, '1')"), {"id": shelf})
                await connection.execute(
                    text("INSERT INTO books (shelf_id, title) VALUES (:id, '1')"), {"id": shelf}
                )
        await engine.dispose()

    async def probes(self, stoker: Stoker) -> Sequence[Probe]:
        """Every view of every shelf."""
        return [probe for shelf in SHELVES for probe in (Probe("label", shelf), Probe("titles", shelf))]

    async def change(self, stoker: Stoker, rng: Random) -> Change:
        """Number a shelf or its book anew."""
        shelf = rng.choice(SHELVES)
        view, event, statement = rng.choice(
            (("label", ShelfRenamed(shelf=shelf), _RENAME), ("titles", BookAdded(shelf=shelf), _REPLACE))
        )
        async with stoker.session() as session, session.begin():
            number = await session.scalar(text(statement), {"id": shelf})
            receipt = stoker.record(session, event)
        return Change(receipt, {f"{view} {shelf}": int(number)})

    async def revoke(self, stoker: Stoker, number: int) -> None:
        """Everybody may read every shelf."""

    def shows(self, probe: Probe, value: Any) -> Mapping[str, int]:  # noqa: ANN401 - as the protocol has it
        """The number."""
        number = value["label"] if probe.view == "label" else value[0]
        return {f"{probe.view} {probe.scope_id}": int(number)}

    def older(self, domain: Domain) -> Domain:
        """Shelves without books."""
        return replace(
            domain,
            views=tuple(view for view in domain.views if view.name == LABEL.name),
            rules=tuple(rule for rule in domain.rules if rule.event is not BookAdded),
            warm_plans=(WarmPlan("active", labels),),
        )


async def labels(_session: AsyncSession, _scope: Scope | None) -> Sequence[EntryKey]:
    """What the release before warmed."""
    return [LABEL.key(SHELF.scope(shelf)) for shelf in SHELVES]


_RENAME = "UPDATE shelves SET label = (label::int + 1)::text WHERE id = :id RETURNING label"
_REPLACE = "UPDATE books SET title = (title::int + 1)::text WHERE shelf_id = :id RETURNING title"

workload = LibraryWorkload()
