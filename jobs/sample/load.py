"""Loads sample data through COPY, in one transaction: a crash leaves the database empty."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import asyncpg
from sqlalchemy import exists, select
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncSession

from jobs.sample.generate import Sample
from jobs.tables import metadata, users
from stoker import BadRequest

ROWS_PER_COPY = 10_000
"""Rows sent before progress is reported again."""
MOST_USERS = 1_000_000
NOT_OF_A_DSN = ("connect_timeout", "statement_cache_size", "prepared_statement_cache_size")
"""Options of a database's URL that asyncpg would take for settings of the server."""


async def is_empty(session: AsyncSession) -> bool:
    """Whether there is no user yet."""
    return not await session.scalar(select(exists(select(users.c.id))))


async def load(
    database_url: str, seed: int, size: int, report: Callable[[int, int], None]
) -> Mapping[str, int]:
    """Fill empty tables with `size` users and what belongs to them; returns rows per table.

    Timestamps count back from now; everything else follows from the seed. Raises BadRequest for a size out of
    range and for tables that hold users already.
    """
    if not 1 <= size <= MOST_USERS:
        raise BadRequest(f"sample data needs 1 to {MOST_USERS:,} users, not {size}", field="users")
    sample = Sample(seed, size, datetime.now(UTC))
    url = make_url(database_url).set(drivername="postgresql").difference_update_query(NOT_OF_A_DSN)
    # No names for statements: a pooler may stand in between.
    connection = await asyncpg.connect(url.render_as_string(hide_password=False), statement_cache_size=0)
    try:
        async with connection.transaction():
            await _refuse_filled(connection)
            await _copy(connection, sample, report)
            await _set_sequences(connection)
            await connection.execute(f"ANALYZE {', '.join(sample.counts)}")
    finally:
        await connection.close()
    return sample.counts


async def _refuse_filled(connection: asyncpg.Connection) -> None:
    # The lock makes two loaders run one after the other: the second one finds users.
    await connection.execute("LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE")
    if await connection.fetchval("SELECT EXISTS (SELECT FROM users)"):
        raise BadRequest(
            "the database has users already: sample data is only loaded into an empty one", field="database"
        )


async def _copy(connection: asyncpg.Connection, sample: Sample, report: Callable[[int, int], None]) -> None:
    total, done = sum(sample.counts.values()), 0
    for table in sample.counts:
        columns = [column.name for column in metadata.tables[table].columns]
        rows = sample.rows(table)
        while batch := list(itertools.islice(rows, ROWS_PER_COPY)):
            await connection.copy_records_to_table(table, records=batch, columns=columns)
            done += len(batch)
            report(done, total)


async def _set_sequences(connection: asyncpg.Connection) -> None:
    for table in metadata.sorted_tables:
        if "id" in table.columns:
            await connection.execute(
                f"SELECT setval(pg_get_serial_sequence('{table.name}', 'id'), max(id)) FROM {table.name}"  # noqa: S608 - our own names
            )
    await connection.execute("SELECT setval('project_revision', max(revision)) FROM projects")
