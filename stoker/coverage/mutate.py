"""Proves by trying: changes what is read, compares every sample entry, asks what would have been invalidated.

Each change runs in a savepoint that is rolled back, in one transaction that sees no other one's changes.
Numbers that sequences gave out are used up; nothing else remains.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager

from pydantic_core import from_json
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from stoker.cache.view import EntryKey
from stoker.coverage.cover import of_views, rolled_back
from stoker.coverage.declared import Declared, declared
from stoker.coverage.facts import TableFacts, facts_of
from stoker.coverage.invalidated import Invalidated, invalidated, newest_event
from stoker.coverage.made import Fields, Seen, seen
from stoker.coverage.mutations import ADDED, REMOVED, Mutation, of_column, of_rows_added, of_rows_removed
from stoker.coverage.proof import Missed, Needless, Proof, Tried
from stoker.coverage.samples import keys_of
from stoker.coverage.world import Row, World, grown
from stoker.domain import Domain
from stoker.errors import DatabaseUnavailable
from stoker.tables import SCHEMA

ENOUGH = 4
"""Changes of one column that changed an entry, after which the next column's turn comes."""
MOST = 16
"""Changes of one column that are tried in all."""
NO_ROW = "the sample has no row of it"
NO_OTHER = "no other value is known for it"
NO_EFFECT = "no sample entry showed a change of it"
ANOTHER_KIND = "rows of such a relation are not changed by writers"
LEFT_OUT = "a trigger or a policy leaves its rows out"

Report = Callable[[int, int], None]
"""Called with what is done and the total."""
Answer = tuple[bytes, bytes | None]
"""The JSON of an entry, and the parent that it belongs to."""
Answers = Mapping[EntryKey, Answer]


NO_FIELDS: Fields = {}


def _nobody(_done: int, _total: int) -> None:
    """Reports nothing."""


async def mutate(
    database_url: str,
    domain: Domain,
    *,
    schema: str = SCHEMA,
    report: Report = _nobody,
    fields: Fields = NO_FIELDS,
) -> Proof:
    """Change each column that is read or watched, and compare; raises DatabaseUnavailable.

    `fields` helps to make events of the application that a row alone does not give.
    `report` is told how many columns are done, and of how many. Raises what loaders raise before any change.
    """
    async with rolled_back(database_url, schema) as connection:
        snapshot = await connection.scalar(text("SELECT pg_export_snapshot()"))
        known = await declared(connection, domain)
        views = await of_views(connection, domain, known)
        tables = known.tables | {read.table_oid for view in views for read in view.reads}
        facts = await facts_of(connection, tables, domain.scopes)
        world = await grown(connection, domain, facts, [key.scope for view in views for key in view.samples])
        run = _Run(connection, domain, known, world, fields)
        async with rolled_back(database_url, schema) as later:
            await later.execute(text(f"SET TRANSACTION SNAPSHOT '{snapshot}'"))
            await run.begin(later)
        columns = {(read.table_oid, read.column) for view in views for read in view.reads}
        tried = await run.all(columns, report)
        untouched = [view.name for view in domain.views if view.name not in run.touched]
        return Proof(views, tried, len(run.before), run.unstable, untouched)


class _Run:
    """One run over a world."""

    def __init__(
        self, connection: AsyncConnection, domain: Domain, known: Declared, world: World, fields: Fields
    ) -> None:
        self._connection, self._domain, self._known, self._world = connection, domain, known, world
        self._fields = fields
        self._keys = {
            view: keys_of(view, [scope for scope in world.scopes if scope.kind == view.scope])
            for view in domain.views
        }
        self.before: dict[EntryKey, Answer] = {}
        self.unstable: list[str] = []
        self.touched: set[str] = set()
        """Views of which a change changed an entry."""
        self._newest = 0

    async def begin(self, later: AsyncConnection) -> None:
        """Note what every entry says, and which entries do not say the same at another time.

        `later` sees the same data, in a transaction that began later: `now()` is another one there.
        """
        first = await self._answers(self._connection)
        unstable = _differing(first, await self._answers(later))
        self.unstable = [str(key) for key in unstable]
        self._keys = {view: [key for key in keys if key not in unstable] for view, keys in self._keys.items()}
        self.before = {key: body for key, body in first.items() if key not in unstable}
        self._newest = await newest_event(self._connection)

    async def all(self, read: Iterable[tuple[int, str]], report: Report) -> list[Tried]:
        """Try every column that is read or watched, and the rows of every table."""
        read = set(read)
        work: list[tuple[TableFacts, str]] = []
        for table in sorted(self._world.facts.tables.values(), key=lambda one: one.name):
            names = [
                name
                for name in table.columns
                if (table.oid, name) in read or self._known.watches(table.oid, name)
            ]
            work += [(table, what) for what in [*names, ADDED, REMOVED]]
        found = []
        for done, (table, what) in enumerate(work):
            report(done, len(work))
            found.append(await self._try(table, what))
        report(len(work), len(work))
        return found

    async def _try(self, table: TableFacts, what: str) -> Tried:
        tried = Tried(table.name, what, what in table.primary_key)
        if not table.writable:
            tried.unproven = ANOTHER_KIND
            return tried
        mutations = await self._mutations(table, what)
        refused = "" if mutations else NO_OTHER if self._world.rows_of(table) else NO_ROW
        for mutation in mutations[:MOST]:
            refused = await self._one(mutation, tried) or refused
            if tried.effective >= ENOUGH:
                break
        if not tried.effective:
            tried.unproven = NO_EFFECT if tried.changes else refused
        return tried

    async def _mutations(self, table: TableFacts, what: str) -> list[Mutation]:
        if what == ADDED:
            return of_rows_added(self._world, table)
        if what == REMOVED:
            return of_rows_removed(self._world, table)
        return await of_column(self._connection, self._world, table, table.columns[what])

    async def _one(self, mutation: Mutation, tried: Tried) -> str:
        """Make a change, and compare; returns why it could not be made."""
        try:
            async with self._undone():
                before = await self._seen(mutation, mutation.before)
                found = (await self._connection.execute(text(mutation.statement), mutation.values)).all()
                if not found:
                    return LEFT_OUT
                ctid, table_oid, *columns = found[0]
                returned = Row(ctid, table_oid, dict(zip(mutation.table.columns, columns, strict=True)))
                after = await self._answers(self._connection)
                try:
                    said = await self._invalidated(mutation, before, returned)
                except Exception as error:  # noqa: BLE001 - of a rule, which the application wrote
                    tried.failed = tried.failed or _said(error)
                    return tried.failed
        except Exception as error:
            if self._connection.invalidated or self._connection.closed:
                raise DatabaseUnavailable(f"the connection broke: {_said(error)}") from error
            return _said(error)
        self._compare(mutation, returned, said, after, tried)
        return ""

    async def _invalidated(self, mutation: Mutation, before: list[Seen], returned: Row) -> Invalidated:
        after = [] if mutation.what == REMOVED else await self._seen(mutation, returned)
        return await invalidated(
            self._connection,
            self._domain,
            self._known,
            mutation.table,
            mutation.column,
            [*before, *after],
            self._newest,
        )

    async def _seen(self, mutation: Mutation, row: Row | None) -> list[Seen]:
        """What the application's writer would see of a row: before the change, and after it."""
        rules = self._known.rules_for(mutation.table.oid, mutation.column)
        return [] if row is None else [await seen(self._connection, rules, self._fields, row.values)]

    def _compare(
        self, mutation: Mutation, returned: Row, said: Invalidated, after: Answers, tried: Tried
    ) -> None:
        changed = _differing(self.before, after)
        tried.changes += 1
        tried.effective += bool(changed)
        self.touched |= {key.view for key in changed}
        for key in self.before.keys() & {one for one in self.before if said.covers(one)}:
            view = tried.needless.setdefault(key.view, Needless(key.view))
            view.invalidated += 1
            view.unchanged += key not in changed
        for key in sorted(changed):
            if said.covers(key):
                continue
            if said.believed:
                tried.believed = sorted({*tried.believed, *said.believed})
                continue
            first = Missed(key.view, key, mutation.about(returned), sorted(said.events))
            tried.missed.setdefault(key.view, first).times += 1

    async def _answers(self, connection: AsyncConnection) -> dict[EntryKey, Answer]:
        """What every entry says now."""
        found: dict[EntryKey, Answer] = {}
        async with AsyncSession(bind=connection, join_transaction_mode="create_savepoint") as session:
            for view, keys in self._keys.items():
                if keys:
                    bodies, parents = view.bodies(keys, await view.load(session, keys))
                    found |= {key: (body, parents.get(key)) for key, body in bodies.items()}
        return found

    @asynccontextmanager
    async def _undone(self) -> AsyncIterator[None]:
        savepoint = await self._connection.begin_nested()
        try:
            yield
        finally:
            await savepoint.rollback()


def _said(error: Exception) -> str:
    said = str(error.orig) if isinstance(error, DBAPIError) else f"{type(error).__name__}: {error}"
    return next(iter(said.splitlines()), type(error).__name__)


def _differing(one: Answers, other: Answers) -> set[EntryKey]:
    """The entries that do not say the same, whatever the order of keys in objects."""
    return {key for key in one.keys() | other.keys() if not _same(one.get(key), other.get(key))}


def _same(one: Answer | None, other: Answer | None) -> bool:
    if one is None or other is None or one == other:
        return one == other
    return one[1] == other[1] and bool(from_json(one[0]) == from_json(other[0]))
