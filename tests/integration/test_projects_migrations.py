from __future__ import annotations

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from jobs.tables import metadata


async def test_the_migrations_make_what_the_tables_declare(database_url: str) -> None:
    def differences(connection: Connection) -> list[object]:
        ours = {table.name for table in metadata.tables.values()}

        def declared_here(
            _object: object, name: str | None, type_: str, _reflected: object, _other: object
        ) -> bool:
            return type_ != "table" or name in ours

        context = MigrationContext.configure(
            connection, opts={"include_object": declared_here, "compare_server_default": True}
        )
        return list(compare_metadata(context, metadata))

    engine = create_async_engine(database_url)
    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []
    await engine.dispose()
