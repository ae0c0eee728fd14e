"""Which engines lead to the database whose outbox Stoker applies, and which can be used for it.

A database is identified by its installation id. An event that is recorded anywhere else is never applied, so
each engine is asked once, by the first session that records through it. Stoker's own engine is not asked.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

from pydantic import SecretStr
from sqlalchemy import Connection, Engine, Pool, text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncEngine

from stoker.errors import SettingsError, WrongServer
from stoker.postgres import OLDEST_POSTGRES, database_errors
from stoker.schema import use_schema
from stoker.settings import Settings
from stoker.settings.urls import asyncpg_url
from stoker.tables import SCHEMA

INSTALLATION = text("SELECT id FROM stoker.installation ORDER BY created_at DESC LIMIT 1")


class KnownDatabases:
    """The engines that events were recorded through, and which of them lead to Stoker's database."""

    def __init__(self, own: Engine, installation: str, schema: str = SCHEMA) -> None:
        self._schema = schema
        self._own = own
        self._installation = installation
        # By pool: an engine with other options shares it, and one that was disposed of gets a new one.
        self._refused: WeakKeyDictionary[Pool, str | None] = WeakKeyDictionary()

    def knows(self, bind: Engine | Connection) -> bool:
        """Whether this is known to lead to Stoker's database; raises WrongServer if it leads to another."""
        pool = bind.engine.pool
        use_schema(bind.engine, self._schema)
        if pool is self._own.pool:
            return True
        if bind.dialect.name != "postgresql":
            raise wrong_database(f"it is of {bind.dialect.name}")
        if pool not in self._refused:
            return False
        if (reason := self._refused[pool]) is not None:
            raise wrong_database(reason)
        return True

    def ask(self, connection: Connection) -> None:
        """Ask which database this is; raises WrongServer for another, so that nothing commits."""
        if self.knows(connection):
            return
        reason = None
        try:
            found = connection.scalar(INSTALLATION)
        except ProgrammingError as error:
            reason = str(error.orig)
        else:
            if found != self._installation:
                reason = f"its installation is {found}, Stoker's is {self._installation}"
        self._refused[connection.engine.pool] = reason
        self.knows(connection)


def wrong_database(reason: str) -> WrongServer:
    """The error of what leads to another database than Stoker's."""
    return WrongServer(
        f"the session leads to another database than Stoker's ({reason}): record the event in a session of "
        "the database that DATABASE_URL names"
    )


async def installation_of(engine: AsyncEngine) -> str:
    """The installation id of an engine's database; raises WrongServer or DatabaseUnavailable."""
    with database_errors():
        async with engine.connect() as connection:
            version = int((await connection.execute(text("SHOW server_version_num"))).scalar_one())
            if version < OLDEST_POSTGRES * 10_000:
                raise WrongServer(
                    f"Postgres {version // 10_000} is too old: {OLDEST_POSTGRES} or newer is needed"
                )
            try:
                found = await connection.execute(INSTALLATION)
            except ProgrammingError as error:
                raise WrongServer("the database has no Stoker tables; run: stoker migrate") from error
            installation = found.scalar_one_or_none()
    if installation is None:
        raise WrongServer("the database has no installation id; run: stoker migrate")
    return str(installation)


async def check_engine(engine: AsyncEngine) -> None:
    """Refuse an engine of the application that Stoker cannot use; raises SettingsError."""
    if not isinstance(engine, AsyncEngine):
        raise SettingsError(f"engine must be made by create_async_engine, not {type(engine).__name__}")
    driver = f"{engine.dialect.name}+{engine.dialect.driver}"
    if driver != "postgresql+asyncpg":
        raise SettingsError(f"engine must be of postgresql+asyncpg, not of {driver}")
    with database_errors():
        async with engine.connect() as connection:
            # now() is when the transaction began: it changes only if each statement commits by itself.
            first, second = [await connection.scalar(text("SELECT now()")) for _ in range(2)]
    if first != second:
        raise SettingsError(
            "engine commits each statement by itself (isolation level AUTOCOMMIT), so that a change and its "
            "event would not be one transaction"
        )


def with_url_of(engine: AsyncEngine, settings: Settings) -> Settings:
    """The settings, with the engine's URL where DATABASE_URL is not set; raises SettingsError."""
    if settings.database_url is not None:
        return settings
    try:
        url = asyncpg_url(engine.url.render_as_string(hide_password=False))
    except ValueError as error:
        raise SettingsError(f"the URL of engine {error}: set DATABASE_URL for the loaders") from None
    return settings.model_copy(update={"database_url": SecretStr(url)})


async def check_same_database(loaders: AsyncEngine, installation: str) -> None:
    """Refuse loaders that read another database than events are recorded in; raises WrongServer."""
    found = await installation_of(loaders)
    if found != installation:
        raise WrongServer(
            f"DATABASE_URL leads to another database than `engine` ({found}, not {installation}): "
            "give both the same"
        )
