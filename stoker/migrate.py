"""Applies the migrations of Stoker's tables and of the domain's, each with a version table of its own.

An adopter may have only the first: the two histories are independent. Running twice, or from two processes at
once, is safe: one advisory lock, one transaction, all or nothing.
"""

from __future__ import annotations

import logging
import secrets
import string
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.script.revision import RevisionError
from sqlalchemy import Connection, delete, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.schema import CreateSchema

from stoker.captures.install import install
from stoker.domain import Domain
from stoker.errors import StokerError
from stoker.outbox import seal_keys
from stoker.outbox.by_hand import make_invalidate
from stoker.postgres import CONNECT_S, QUESTION_S, database_errors, engine_of
from stoker.tables import SCHEMA, installation

logger = logging.getLogger(__name__)

HERE = Path(__file__).parent / "migrations"
LOCK = 0x5730CE12
"""Key of the advisory lock under which migrations run; an arbitrary constant."""
ID_LENGTH = 10
NO_LIMITS: Mapping[str, float] = MappingProxyType({})


class MigrationsPending(StokerError):
    """The database lacks revisions that this release needs."""

    def __init__(self, revisions: list[str]) -> None:
        super().__init__(f"migrations are not applied ({', '.join(revisions)}); run: stoker migrate")
        self.revisions = revisions


@dataclass(frozen=True)
class History:
    """One line of revisions and the table that remembers how far a database has come."""

    name: str
    revisions: Path
    schema: str | None = None
    """Schema of the version table; None: the connection's own."""

    @property
    def version_table(self) -> str:
        """Where Alembic keeps the current revision."""
        return "alembic_version" if self.schema else f"{self.name}_alembic_version"

    @property
    def options(self) -> dict[str, Any]:
        """What Alembic must know about the version table."""
        return {"version_table": self.version_table, "version_table_schema": self.schema}

    def config(self, connection: Connection | None = None) -> Config:
        """Alembic's configuration for this history."""
        config = Config()
        config.set_main_option("script_location", _escaped(HERE))
        config.set_main_option("path_separator", "newline")
        config.set_main_option("version_locations", _escaped(self.revisions))
        config.attributes.update(connection=connection, **self.options)
        return config


def histories(domain: Domain | None, only: str | None = None, schema: str = SCHEMA) -> list[History]:
    """Stoker's history and the domain's, or the one that `only` names: `stoker` or `domain`."""
    both = [] if only == "domain" else [History("stoker", HERE / "versions", schema)]
    if domain is not None and domain.migrations is not None and only != "stoker":
        versions = domain.migrations / "versions"
        both.append(History(domain.name, versions if versions.is_dir() else domain.migrations))
    return both


async def migrate(
    database_url: str,
    domain: Domain | None,
    only: str | None = None,
    *,
    schema: str = SCHEMA,
    say: Callable[[str], None] = logger.info,
) -> list[str]:
    """Apply what is pending and return it as `history: revision`; raises DatabaseUnavailable.

    After it, the domain's captures are brought up to date, each in a transaction of its own: it raises
    DeclarationError for a table that is not there or does not fit, and TableBusy. `schema`: that of Stoker's
    own tables; `say` is told of waits.
    """
    async with _transaction(database_url, schema) as connection:
        await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
        applied: list[str] = []
        for history in histories(domain, only, schema):
            applied += await connection.run_sync(_upgrade, history)
        if only != "domain":
            await _name_installation(connection)
            await seal_keys.make_first(connection)
        if domain is not None and only != "domain":
            await make_invalidate(connection, domain, schema)
    if domain is not None and only != "stoker":
        applied += await install_captures(database_url, domain, schema=schema, say=say)
    return applied


async def install_captures(
    database_url: str, domain: Domain, *, schema: str = SCHEMA, say: Callable[[str], None] = logger.info
) -> list[str]:
    """Bring the domain's captures up to date and return what was done; see `migrate`."""
    engine = engine_of(database_url, schema=schema)
    try:
        return await install(engine, domain.captures, schema, say)
    finally:
        await engine.dispose()


async def pending(
    database_url: str,
    domain: Domain | None,
    *,
    schema: str = SCHEMA,
    connect_timeout_s: float = CONNECT_S,
) -> list[str]:
    """Revisions that this release has and the database lacks, as `history: revision`.

    A revision that this release does not know means a database that is ahead: workers are deployed before
    web apps, and an older process must go on running beside them.
    """
    limits = {"timeout": connect_timeout_s, "command_timeout": QUESTION_S}
    async with _transaction(database_url, schema, limits) as connection:
        return [
            name
            for history in histories(domain, schema=schema)
            for name in await connection.run_sync(_missing, history)
        ]


async def require_migrated(database_url: str, domain: Domain | None, *, schema: str = SCHEMA) -> None:
    """Raise MigrationsPending unless the database has all that this release needs."""
    missing = await pending(database_url, domain, schema=schema)
    if missing:
        raise MigrationsPending(missing)


async def installation_of(database_url: str, *, schema: str = SCHEMA) -> str | None:
    """The id of a migrated database."""
    async with _transaction(database_url, schema) as connection:
        return await connection.scalar(select(installation.c.id))


async def renew_installation(database_url: str, *, schema: str = SCHEMA) -> str:
    """Give the database a new id after a restore: it must not meet an old cache entry (RACES 42)."""
    async with _transaction(database_url, schema) as connection:
        await connection.execute(delete(installation))
        await seal_keys.renew(connection)
        return await _name_installation(connection)


def _upgrade(connection: Connection, history: History) -> list[str]:
    if history.schema:
        connection.execute(CreateSchema(history.schema, if_not_exists=True))
    missing = _missing(connection, history)
    if missing:
        command.upgrade(history.config(connection), "heads")
    return missing


def _missing(connection: Connection, history: History) -> list[str]:
    script = ScriptDirectory.from_config(history.config())
    context = MigrationContext.configure(connection, opts=history.options)
    try:
        revisions = list(script.iterate_revisions("heads", context.get_current_heads() or "base"))
    except RevisionError:
        return []
    return [f"{history.name}: {revision.revision}" for revision in reversed(revisions)]


async def _name_installation(connection: AsyncConnection) -> str:
    found = await connection.scalar(select(installation.c.id))
    if found is not None:
        return str(found)
    alphabet = string.ascii_lowercase + string.digits
    name = "".join(secrets.choice(alphabet) for _ in range(ID_LENGTH))
    await connection.execute(insert(installation).values(id=name))
    return name


@asynccontextmanager
async def _transaction(
    database_url: str, schema: str, limits: Mapping[str, float] = NO_LIMITS
) -> AsyncIterator[AsyncConnection]:
    """`limits`: asyncpg's, beside those that every engine has; a migration may take long."""
    engine = engine_of(database_url, connect_args=limits, schema=schema)
    try:
        with database_errors():
            async with engine.begin() as connection:
                yield connection
    finally:
        await engine.dispose()


def _escaped(path: Path) -> str:
    return str(path).replace("%", "%%")
