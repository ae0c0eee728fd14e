"""A replica is refused: what a loader reads there may be older than what was applied."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import create_async_engine

from stoker import Stoker
from stoker.errors import DatabaseUnavailable
from stoker.migrate import migrate
from stoker.postgres import loader_engine, short_connection
from stoker.settings import load_settings
from stoker.worker.check import check
from tests.library import domain
from tests.support.pgbouncer import pooler
from tests.support.place import Place
from tests.support.replicated import Pair

SAYS = "Postgres is a replica: .* Let DATABASE_URL lead to the primary"


async def test_a_replica_is_refused_wherever_its_url_is_given(pair: Pair, paired: Place) -> None:
    await migrate(pair.url, domain)
    alone = replace(paired, database_url=pair.replica.url)
    with pytest.raises(DatabaseUnavailable, match=SAYS):
        await Stoker.open(alone.settings(), domain)
    with pytest.raises(DatabaseUnavailable, match=SAYS):
        await migrate(pair.replica.url, domain)
    assert any("Postgres is a replica" in one.message for one in await check(alone.settings(), domain))

    own = create_async_engine(pair.primary.url)
    with pytest.raises(DatabaseUnavailable, match=SAYS):  # loaders go by DATABASE_URL
        await Stoker.open(alone.settings(), domain, engine=own)
    await own.dispose()

    with pooler(pair.replica.url) as behind:
        engine = loader_engine(load_settings(database_url=SecretStr(behind.url)))
        with pytest.raises(DatabaseUnavailable, match=SAYS):
            async with short_connection(engine):
                pass
        await engine.dispose()


@pytest.mark.long
async def test_of_two_hosts_the_replica_is_never_read_even_where_it_is_the_only_one(
    pair: Pair, paired: Place
) -> None:
    """`target_session_attrs` chooses; without it the first host that answers would be taken."""
    reversed_url = "&".join(f"host={one.sockets}:5432" for one in (pair.replica, pair.primary))
    plain = f"postgresql+asyncpg://postgres@/stoker?{reversed_url}"
    engine = loader_engine(load_settings(database_url=SecretStr(plain)))
    with pytest.raises(DatabaseUnavailable, match=SAYS):
        async with short_connection(engine):
            pass
    await engine.dispose()
    asking = f"{pair.replica.url}&target_session_attrs=read-write"
    engine = loader_engine(load_settings(database_url=SecretStr(asking)))
    with pytest.raises(DatabaseUnavailable, match="no Postgres that DATABASE_URL names can be used"):
        async with short_connection(engine):
            pass
    await engine.dispose()
    pair.primary.kill()
    engine = loader_engine(paired.settings())
    with pytest.raises(DatabaseUnavailable):
        async with short_connection(engine):
            pass
    pair.replica.promote()
    async with short_connection(engine):
        pass
    await engine.dispose()
