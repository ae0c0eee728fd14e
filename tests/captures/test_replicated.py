"""What needs servers with settings of their own: prepared transactions and logical replication."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import make_url

from stoker import embedded
from stoker.embedded import postgres
from stoker.migrate import migrate
from tests.captures.conftest import TICKET, TICKETS, Db

PATIENCE_S = 30


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[embedded.Embedded]:
    own = ("max_prepared_transactions=5", "wal_level=logical", "max_wal_senders=5")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(postgres, "SETTINGS", (*postgres.SETTINGS, *own))
        with embedded.start(tmp_path_factory.mktemp("servers"), durable=False) as running:
            yield running


def _connected(url: str) -> psycopg.Connection[tuple[object, ...]]:
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    return psycopg.connect(plain, autocommit=True)


@pytest.fixture
def tickets(server: embedded.Embedded, request: pytest.FixtureRequest) -> Iterator[Db]:
    name = f"db_{abs(hash(request.node.name))}"
    with _connected(server.urls.database) as maintenance:
        maintenance.execute(f"CREATE DATABASE {name}".encode())
    url = make_url(server.urls.database).set(database=name).render_as_string(hide_password=False)
    asyncio.run(migrate(url, None))
    with _connected(url) as connection:
        db = Db(url, connection)
        db.run(TICKETS)
        db.install(TICKET)
        yield db


def test_a_prepared_transaction_records_with_its_commit(tickets: Db) -> None:
    with _connected(tickets.url) as writer:
        writer.execute("BEGIN")
        writer.execute("UPDATE tickets SET status = 'x' WHERE id = 3")
        writer.execute("PREPARE TRANSACTION 'one'")
    assert tickets.recorded() == []
    tickets.run("COMMIT PREPARED 'one'")
    assert tickets.recorded() == [{"ticket": 3, "tenant": 20}]


def test_rows_that_arrive_by_logical_replication_are_captured(server: embedded.Embedded, tickets: Db) -> None:
    with _connected(server.urls.database) as source:
        source.execute("DROP DATABASE IF EXISTS source")
        source.execute("CREATE DATABASE source")
    url = make_url(server.urls.database).set(database="source", drivername="postgresql")
    with _connected(url.render_as_string(hide_password=False)) as source:
        source.execute(TICKETS.encode())
        source.execute("CREATE PUBLICATION all_rows FOR TABLE tickets")
        source.execute("SELECT pg_create_logical_replication_slot('rows', 'pgoutput')")
        tickets.run(
            f"CREATE SUBSCRIPTION rows CONNECTION '{_libpq(source)}' PUBLICATION all_rows"
            " WITH (create_slot = false, slot_name = 'rows', copy_data = false)"
        )
        source.execute("UPDATE tickets SET status = 'far' WHERE id = 2")
        source.execute("UPDATE tickets SET seen = 5 WHERE id = 1")
        source.execute("DELETE FROM tickets WHERE id = 3")
        _wait_until(tickets, "SELECT count(*) = 2 FROM tickets")
        assert tickets.recorded() == [{"ticket": 2, "tenant": 10}, {"ticket": 3, "tenant": 20}]
        source.execute("TRUNCATE tickets")
        _wait_until(tickets, "SELECT count(*) = 0 FROM tickets")
        assert tickets.recorded() == [None]
        tickets.run("DROP SUBSCRIPTION rows")


def _libpq(connection: psycopg.Connection[tuple[object, ...]]) -> str:
    told = connection.info
    names = ("host", "port", "dbname", "user", "password")
    return " ".join(f"{name}={getattr(told, name)}" for name in names)


def _wait_until(db: Db, question: str) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not db.run(question)[0][0]:
        assert time.monotonic() < give_up, question
        time.sleep(0.01)
