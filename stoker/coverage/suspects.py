"""Which rows made a stale entry wrong, and whether their writers recorded an event, as far as Postgres knows.

A row carries the id of the transaction that wrote it, and so does an event. A row that is gone carries
nothing, and a savepoint has an id of its own, which no event has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from stoker.cache.view import EntryKey
from stoker.coverage.cover import rolled_back
from stoker.coverage.declared import declared
from stoker.coverage.facts import TableFacts, facts_of
from stoker.coverage.resolve import Reads, resolve
from stoker.coverage.statements import recorded
from stoker.coverage.world import Limits, Row, grown, named
from stoker.domain import Domain
from stoker.tables import SCHEMA

NEAR = Limits(ids=200, fewest_ids=0, rows=1000, rows_of_an_id=200, rounds=2)
"""How far from an entry's scope rows are searched."""
MOST = 5
"""Rows that are named, and places of an entry."""
SLACK = timedelta(seconds=2)
"""What an entry says is a little older than the entry."""
BOUND = text("""
    SELECT max(transaction_id) FROM stoker.cache_events
     WHERE recorded_at < clock_timestamp() - CAST(:age AS interval)
""")
EVENTS = text("""
    SELECT transaction_id, array_agg(DISTINCT kind) FROM stoker.cache_events
     WHERE transaction_id = ANY(CAST(:ids AS bigint[])) GROUP BY transaction_id
""")
NOW = text("SELECT CAST(CAST(pg_current_xact_id() AS text) AS bigint)")
EPOCH = 2**32
"""A row holds the lower half of its transaction's id."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """A row that was written after the entry was built, from what the entry's view reads."""

    row: str
    """By its key."""
    transaction_id: int
    events: Sequence[str]
    """Kinds of the events that this transaction recorded."""
    declared: Sequence[str]
    """The captures and rules that are there for the row's table."""
    is_later: bool
    """Whether it is known to be written after the entry was built: some event was recorded before that."""

    def __str__(self) -> str:
        told = f"which recorded {', '.join(self.events)}" if self.events else "whose id no event has"
        known = ", ".join(self.declared) or "no capture and no rule that covers it"
        when = "" if self.is_later else "perhaps earlier, "
        written = f"{self.row} was written {when}by transaction {self.transaction_id}"
        return f"{written}, {told}; its table has {known}"


async def suspects(
    database_url: str, domain: Domain, key: EntryKey, age: timedelta, *, schema: str = SCHEMA
) -> list[Suspect]:
    """Rows that were written since an entry of that age was built, the newest first.

    Empty where none was found: rows may be gone. Raises DatabaseUnavailable, and what the loader raises.
    """
    async with rolled_back(database_url, schema) as connection:
        reads = await _reads(connection, domain, key)
        facts = await facts_of(connection, {one.table_oid for one in reads.columns}, domain.scopes)
        world = await grown(connection, domain, facts, [key.scope], NEAR)
        bound = await connection.scalar(BOUND, {"age": age + SLACK})
        found: list[tuple[int, TableFacts, Row]] = []
        for table in facts.tables.values():
            found += await _written_since(connection, table, world.rows_of(table), bound or 0)
        newest = sorted(found, key=lambda one: -one[0])[:MOST]
        events = await _events(connection, {number for number, _, _ in newest})
        known = await declared(connection, domain)
        return [
            Suspect(
                named(table, row),
                number,
                events.get(number, ()),
                known.records(table.oid, ""),
                is_later=bound is not None,
            )
            for number, table, row in newest
        ]


def differences(held: Any, now: Any, where: str = "") -> Iterator[str]:  # noqa: ANN401 - JSON
    """The places where two values differ, as `comments[0].body`: no value is shown."""
    if isinstance(held, dict) and isinstance(now, dict):
        for name in held.keys() | now.keys():
            place = f"{where}.{name}" if where else name
            yield from differences(held[name], now[name], place) if name in held and name in now else [place]
    elif isinstance(held, list) and isinstance(now, list) and len(held) == len(now):
        for at, (one, other) in enumerate(zip(held, now, strict=True)):
            yield from differences(one, other, f"{where}[{at}]")
    elif held != now:
        yield where or "all of it"


async def _reads(connection: AsyncConnection, domain: Domain, key: EntryKey) -> Reads:
    reads = Reads()
    async with (
        recorded(connection) as statements,
        AsyncSession(bind=connection, join_transaction_mode="create_savepoint") as session,
    ):
        await domain.view(key.view).load(session, [key])
    for statement in statements:
        await resolve(connection, statement, reads)
    return reads


async def _written_since(
    connection: AsyncConnection, table: TableFacts, rows: Sequence[Row], bound: int
) -> list[tuple[int, TableFacts, Row]]:
    if not rows or not table.writable:
        return []
    now = await connection.scalar(NOW) or 0
    query = (
        "SELECT CAST(tableoid AS bigint), CAST(ctid AS text), CAST(CAST(xmin AS text) AS bigint)"  # noqa: S608 - quoted
        f" FROM {table.name} WHERE ctid = ANY(CAST(CAST(:ctids AS text[]) AS tid[]))"
    )
    by_place = {(row.table_oid, row.ctid): row for row in rows}
    found = []
    for oid, ctid, low in await connection.execute(text(query), {"ctids": [row.ctid for row in rows]}):
        number = now - (now - low) % EPOCH
        if number > bound and (oid, ctid) in by_place:
            found.append((number, table, by_place[oid, ctid]))
    return found


async def _events(connection: AsyncConnection, ids: set[int]) -> Mapping[int, Sequence[str]]:
    rows = await connection.execute(EVENTS, {"ids": sorted(ids)})
    return {number: sorted(kinds) for number, kinds in rows}
