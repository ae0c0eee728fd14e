"""Postgres that takes no writes, as a standby after a failover: reads go on, writes are an outage."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from stoker.api import operations
from stoker.errors import DatabaseUnavailable
from stoker.migrate import migrate
from stoker.operations import tokens
from stoker.operations.audit import Actor
from stoker.outbox.record import InvalidationRequested
from stoker.settings import Role
from stoker.stoker import Stoker
from tests.integration.test_tokens import client, status
from tests.library import domain
from tests.support.databases import Databases
from tests.support.place import Place


class Standby:
    """A database that is made one, for connections from now on, and for those that the process has."""

    def __init__(self, stoker: Stoker, databases: Databases) -> None:
        self.stoker = stoker
        self._databases = databases
        self._name = stoker.engine.url.database

    async def begin(self) -> None:
        self._databases.now(f'ALTER DATABASE "{self._name}" SET default_transaction_read_only = on')
        await self.stoker.engine.dispose()

    def end(self) -> None:
        """What happens in a failover: new connections lead to the new primary, old ones do not."""
        self._databases.now(f'ALTER DATABASE "{self._name}" RESET default_transaction_read_only')


@pytest.fixture
async def standby(place: Place, databases: Databases) -> AsyncIterator[Standby]:
    await migrate(place.database_url, domain)
    async with Stoker.opened(place.settings(api={"probe_timeout_s": 30}), domain) as stoker:
        yield Standby(stoker, databases)


async def write(stoker: Stoker) -> None:
    async with stoker.session() as session, session.begin():
        stoker.record(session, InvalidationRequested.of([]))


async def test_a_write_is_an_outage_and_the_next_one_finds_the_new_primary(standby: Standby) -> None:
    """Guard: a refused write ends every connection that was kept."""
    await standby.begin()
    async with standby.stoker.engine.connect(), standby.stoker.engine.connect():
        pass  # two are kept
    with pytest.raises(DatabaseUnavailable, match=r"takes no writes: .*read-only transaction"):
        await write(standby.stoker)
    standby.end()
    for _ in range(3):
        await write(standby.stoker)


async def test_readers_go_on_and_probes_tell(standby: Standby, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "NOTE_AGAIN_S", 0)
    monkeypatch.setattr(operations, "PROBED_EVERY_S", 0)
    stoker = standby.stoker
    given = await tokens.add(stoker, Actor("test"), "ann", Role.VIEWER)
    async with client(stoker) as api:
        assert await status(api, path="/readyz") == 200
        await standby.begin()
        assert await status(api, given, "/api/cache/stats") == 200, "when it was used cannot be noted"
        assert await status(api, path="/readyz") == 503
        health = (await api.get("/api/cache/health", headers={"Authorization": f"Bearer {given}"})).json()
        assert "takes no writes" in health["servers"]["database"]["error"]
        standby.end()
        await standby.stoker.engine.dispose()
        assert await status(api, path="/readyz") == 200
        assert await status(api, given) == 200
    (listed,) = await tokens.list_tokens(stoker)
    assert listed.last_used_at is not None, "it is noted as soon as it can be"
