"""Says of each column that a view's loader reads whether something records its changes.

Every statement runs in one transaction that is rolled back. What cannot be seen is reported as unseen, and
counts as not covered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from stoker.cache.view import EntryKey, Scope, View
from stoker.coverage.resolve import Reads, resolve
from stoker.coverage.samples import OF_A_VIEW, candidates, keys_of, warmed
from stoker.coverage.statements import recorded
from stoker.domain import Domain
from stoker.errors import DeclarationError
from stoker.postgres import database_errors, engine_of
from stoker.tables import SCHEMA

NO_SAMPLE = (
    "no sample entry: no id in the tables that it reads gives one, so some statements may not have run"
)
NO_STATEMENT = "its loader ran no statement on its session: what it reads is not known"


@dataclass(frozen=True, slots=True)
class Read:
    """One column that a view reads, and what records its changes: empty where nothing does."""

    table: str
    column: str
    """Empty where only the table's rows count, as in `count(*)`."""
    covered_by: tuple[str, ...]


@dataclass(slots=True)
class ViewCoverage:
    """What one view reads."""

    view: str
    samples: list[str]
    """Keys of the entries that were built."""
    reads: list[Read] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)
    """What could not be found out."""

    @property
    def uncovered(self) -> list[Read]:
        """The columns whose changes nothing records."""
        return [one for one in self.reads if not one.covered_by]

    @property
    def sound(self) -> bool:
        """Whether every column is seen and covered."""
        return not self.unseen and not self.uncovered


async def cover(database_url: str, domain: Domain, *, schema: str = SCHEMA) -> list[ViewCoverage]:
    """What each view reads, and what records the changes of it; raises DatabaseUnavailable.

    Raises what a loader raises. Needs a primary, and the right to make temporary functions.
    """
    engine = engine_of(database_url, schema=schema)
    try:
        with database_errors():
            async with engine.connect() as connection:
                await connection.execute(text("SET LOCAL lock_timeout = '2s'"))
                try:
                    return await _cover(connection, domain)
                finally:
                    await connection.rollback()
    finally:
        await engine.dispose()


async def _cover(connection: AsyncConnection, domain: Domain) -> list[ViewCoverage]:
    covers = await _declared(connection, domain)
    session = AsyncSession(bind=connection, join_transaction_mode="create_savepoint")
    hot = await warmed(session, domain)
    found = []
    for view in domain.views:
        reads, built = await _reads(connection, session, domain, view, hot)
        found.append(_judged(view, reads, built, covers))
    await session.close()
    return found


async def _reads(
    connection: AsyncConnection, session: AsyncSession, domain: Domain, view: View, hot: Sequence[Scope]
) -> tuple[Reads, list[EntryKey]]:
    """What the view's loader reads while it builds sample entries, and the entries that it built."""
    reads = Reads()
    nobody = domain.scope(view.scope, "0")
    warm = [scope for scope in hot if scope.kind == view.scope][:OF_A_VIEW]
    built: list[EntryKey] = []
    answered: list[EntryKey] = []
    statements = dict.fromkeys(await _load(connection, session, view, [nobody, *warm], built))
    for statement in statements:
        await resolve(connection, statement, reads)
    if len({key.scope for key in built} - {nobody}) < OF_A_VIEW:
        tried = await candidates(connection, domain, view, reads.columns)
        await _load(connection, session, view, tried, answered)
        best = list(dict.fromkeys(key.scope for key in answered))[:OF_A_VIEW]
        for statement in await _load(connection, session, view, best, built):
            if statement not in statements:
                await resolve(connection, statement, reads)
    if not statements:
        reads.unseen.add(NO_STATEMENT)
    samples = [key for key in dict.fromkeys(built) if key.scope != nobody]
    if not samples:
        reads.unseen.add(NO_SAMPLE)
    return reads, samples


async def _load(
    connection: AsyncConnection,
    session: AsyncSession,
    view: View,
    scopes: Sequence[Scope],
    built: list[EntryKey],
) -> list[str]:
    """Load entries of a view; adds the keys of those that exist to `built`, returns the statements."""
    keys = keys_of(view, scopes)
    if not keys:
        return []
    async with recorded(connection) as statements:
        try:
            answer = await view.load(session, keys)
        except Exception as error:
            error.add_note(f"raised by the loader of view {view.name} for {len(keys)} sample entries")
            raise
    built.extend(view.bodies(keys, answer)[0])
    return statements


async def _declared(connection: AsyncConnection, domain: Domain) -> Mapping[tuple[int, str], list[str]]:
    """What records the changes of each column, by table and column; `*` stands for all of a table's."""
    found: dict[tuple[int, str], list[str]] = {}
    for rule in domain.rules:
        for column in rule.covers:
            table, _, name = column.rpartition(".")
            place = (await _oid(connection, table, f"rule for {rule.event.kind!r}: covers"), name)
            found.setdefault(place, []).append(f"rule {rule.event.kind}")
    captures: tuple[Any, ...] = getattr(domain, "captures", ())
    for capture in captures:
        oid = await _oid(connection, capture.table, "capture:")
        for name in capture.columns or ("*",):
            found.setdefault((oid, name), []).append(f"capture {capture.event.kind}")
    return found


async def _oid(connection: AsyncConnection, table: str, whose: str) -> int:
    oid = await connection.scalar(text("SELECT CAST(to_regclass(:table) AS oid)"), {"table": table})
    if oid is None:
        raise DeclarationError(f"{whose} table {table!r:.80}, which the database does not have")
    return int(oid)


def _judged(
    view: View, reads: Reads, built: Sequence[EntryKey], covers: Mapping[tuple[int, str], list[str]]
) -> ViewCoverage:
    named = {one.table_oid for one in reads.columns if one.name}
    found = []
    for one in sorted(reads.columns, key=str):
        if one.name:
            by = [*covers.get((one.table_oid, one.name), ()), *covers.get((one.table_oid, "*"), ())]
        elif one.table_oid in named:
            continue  # its columns say it
        else:
            by = [who for (oid, _), whos in covers.items() if oid == one.table_oid for who in whos]
        found.append(Read(one.table, one.name, tuple(dict.fromkeys(by))))
    return ViewCoverage(view.name, [str(key) for key in built], found, sorted(reads.unseen))
