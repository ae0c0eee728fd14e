"""Says of each column that a view's loader reads whether something records its changes.

Every statement runs in one transaction that is rolled back. What cannot be seen is reported as unseen, and
counts as not covered.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from stoker.cache.view import EntryKey, Scope, View
from stoker.coverage.declared import Declared, declared
from stoker.coverage.resolve import Reads, resolve
from stoker.coverage.samples import OF_A_VIEW, candidates, keys_of, warmed
from stoker.coverage.statements import recorded
from stoker.domain import Domain
from stoker.postgres import database_errors, engine_of
from stoker.tables import SCHEMA

NO_SAMPLE = (
    "no sample entry: no id in the tables that it reads gives one, so some statements may not have run"
)
LOCK_TIMEOUT = "2s"
"""How long a statement waits for a lock that somebody else holds."""
NO_STATEMENT = "its loader ran no statement on its session: what it reads is not known"


@dataclass(frozen=True, slots=True)
class Read:
    """One column that a view reads, and what records its changes: empty where nothing does."""

    table_oid: int
    table: str
    column: str
    """Empty where only the table's rows count, as in `count(*)`."""
    covered_by: tuple[str, ...]


@dataclass(slots=True)
class ViewCoverage:
    """What one view reads."""

    view: str
    samples: list[EntryKey]
    """The entries that were built."""
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
    async with rolled_back(database_url, schema) as connection:
        return await of_views(connection, domain, await declared(connection, domain))


@asynccontextmanager
async def rolled_back(database_url: str, schema: str) -> AsyncIterator[AsyncConnection]:
    """A connection in a transaction that sees no other one's changes, and is rolled back at the end."""
    engine = engine_of(database_url, schema=schema, isolation_level="REPEATABLE READ")
    try:
        with database_errors():
            async with engine.connect() as connection:
                await connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
                try:
                    yield connection
                finally:
                    await connection.rollback()
    finally:
        await engine.dispose()


async def of_views(connection: AsyncConnection, domain: Domain, known: Declared) -> list[ViewCoverage]:
    """What each view reads, found on this connection."""
    session = AsyncSession(bind=connection, join_transaction_mode="create_savepoint")
    hot = await warmed(session, domain)
    found = []
    for view in domain.views:
        reads, built = await _reads(connection, session, domain, view, hot)
        found.append(_judged(view, reads, built, known))
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


def _judged(view: View, reads: Reads, built: Sequence[EntryKey], known: Declared) -> ViewCoverage:
    named = {one.table_oid for one in reads.columns if one.name}
    found = [
        Read(one.table_oid, one.table, one.name, known.records(one.table_oid, one.name))
        for one in sorted(reads.columns, key=str)
        if one.name or one.table_oid not in named  # its columns say it
    ]
    return ViewCoverage(view.name, list(built), found, sorted(reads.unseen))
