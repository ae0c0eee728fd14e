"""The tests' second domain under chaos: shelves that are renamed, books that replace each other."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from random import Random

from pydantic_core import from_json
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from stoker import Domain, EntryKey, Scope, Stoker, WarmPlan
from stoker.chaos import Read, Verdict, Web
from tests.library import LABEL, SHELF, BookAdded

SHELVES = [f"S-{number}" for number in range(8)]


class LibraryUsers:
    """Everybody may see every shelf. What is shown are numbers that only grow."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._applied: dict[str, int] = {}
        """By path: the highest number known to be in effect."""

    def read(self) -> Read:
        """Any view of any shelf."""
        view, shelf = self._rng.choice(("label", "titles")), self._rng.choice(SHELVES)
        return Read(view, shelf, 0, f"/{view}/{shelf}")

    def intrusion(self) -> None:
        """Every reader may see everything."""

    async def edit(self, web: Web, due: float) -> None:
        """Number a shelf or its book anew."""
        path, began = self.read().path, time.time()
        reply = await web.send("POST", path)
        if reply is None:
            return
        answer = from_json(reply.body)

        def applied() -> None:
            self._applied[path] = max(answer["number"], self._applied.get(path, 0))

        web.wrote(answer, due, began, applied)

    def rights(self, reader: int) -> int:
        """No right ever changes."""
        return 0

    def expected(self, read: Read) -> int:
        """The number that is in effect now."""
        return self._applied.get(read.path, 0)

    def shown(self, read: Read, body: bytes) -> int:
        """The number in a body."""
        value = from_json(body)
        return int(value["label"] if read.view == "label" else value[0])

    def judge(self, read: Read, expected: int, shown: int) -> Verdict:
        """Compare the two."""
        stale = f"shows {shown}, but {expected} was applied before" if shown < expected else None
        return Verdict(stale, of_changed=expected > 0)

    def candidates(self, served: Iterable[Read]) -> Iterable[Read]:
        """All that was served."""
        return served


class LibraryWorkload:
    """Labels and titles are numbers that only grow."""

    domain = "tests.library"
    webapp = "tests.chaos.library_webapp:app"

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

    async def users(self, stoker: Stoker, rng: Random) -> LibraryUsers:
        """Users of all shelves."""
        return LibraryUsers(rng)

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


workload = LibraryWorkload()
