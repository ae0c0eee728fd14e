"""A database with captured tables, written to by plain SQL as any program would."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import psycopg
import pytest
from sqlalchemy import make_url

from stoker import Capture, Event
from stoker.captures.install import install
from stoker.captures.standing import Compared, compare
from stoker.postgres import engine_of

TICKETS = """
CREATE TABLE tickets (
    id bigint PRIMARY KEY, tenant_id int NOT NULL, status text, doc json, seen int NOT NULL DEFAULT 0,
    loud text GENERATED ALWAYS AS (upper(status)) STORED
);
INSERT INTO tickets (id, tenant_id, status, doc) VALUES (1, 10, 'open', '{}'), (2, 10, 'open', '{}'),
    (3, 20, 'open', '{}');
"""


class TicketChanged(Event):
    """A ticket changed."""

    kind: ClassVar[str] = "test.ticket_changed"
    ticket: int
    tenant: int


class TenantChanged(Event):
    """Something of a tenant changed; None where the row names no tenant."""

    kind: ClassVar[str] = "test.tenant_changed"
    tenant: int | None


TICKET = Capture(
    "tickets", TicketChanged, fields={"ticket": "id", "tenant": "tenant_id"}, columns=("status", "doc")
)


class Db:
    """A database, one connection to it, and what captures have recorded in it."""

    def __init__(self, url: str, connection: psycopg.Connection[Any]) -> None:
        self.url = url
        self.plain_url = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        self.connection = connection

    def run(self, sql: str) -> list[Any]:
        """Statements; rows of the last one."""
        done = self.connection.execute(sql.encode())
        return done.fetchall() if done.description else []

    def install(self, *captures: Capture, say: Callable[[str], object] = str) -> list[str]:
        """Bring captures up to date; returns what was done. What was recorded until then is forgotten."""

        async def work() -> list[str]:
            engine = engine_of(self.url)
            try:
                return await install(engine, captures, "stoker", say)
            finally:
                await engine.dispose()

        done = asyncio.run(work())
        self.run("DELETE FROM stoker.cache_events")
        return done

    def compare(self, *captures: Capture) -> list[Compared]:
        """What differs."""

        async def work() -> list[Compared]:
            engine = engine_of(self.url)
            try:
                async with engine.connect() as connection:
                    return await compare(connection, captures, "stoker")
            finally:
                await engine.dispose()

        return asyncio.run(work())

    def recorded(self, sql: str = "") -> list[Any]:
        """Payloads that a statement has recorded, or that are there, by what they say; they are removed."""
        if sql:
            self.run(sql)
        found = [row[0] for row in self.run("DELETE FROM stoker.cache_events RETURNING payload")]
        return sorted(found, key=str)


@pytest.fixture
def db(database_url: str) -> Iterator[Db]:
    """A migrated database without captures."""
    plain = make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True) as connection:
        yield Db(database_url, connection)


@pytest.fixture
def tickets(db: Db) -> Db:
    """A captured table with three rows."""
    db.run(TICKETS)
    db.install(TICKET)
    return db
