"""A database of its own for every test: clones of a migrated template.

A thread makes the next clone and drops the last one while the tests run, over a connection of its own. If
that fails, because a test killed Postgres meanwhile, the clone is made when it is needed.
"""

from __future__ import annotations

import secrets
from concurrent.futures import Future, ThreadPoolExecutor

import psycopg
from sqlalchemy import URL

Done = Future[None]
STRATEGIES_SINCE = 150000


class Databases:
    """Makes and drops databases on one server."""

    def __init__(self, maintenance: URL) -> None:
        plain = maintenance.set(drivername="postgresql")
        self._url = plain.render_as_string(hide_password=False)
        self._thread = ThreadPoolExecutor(1, "databases")  # the connection is used nowhere else
        self._connection: psycopg.Connection | None = None
        self._server_version: int | None = None
        self._dropped: list[tuple[str, Done]] = []

    def create(self, template: str, name: str) -> Done:
        """Begin to make a database."""
        return self._thread.submit(self._clone, template, name)

    def drop(self, name: str) -> None:
        """Begin to drop a database, whoever is connected to it."""
        self._dropped.append((name, self._thread.submit(self._do, _drop(name))))

    def now(self, statement: str) -> None:
        """Carry out a statement."""
        self._thread.submit(self._do, statement).result()

    def close(self) -> None:
        """Wait for what was begun; what could not be dropped is dropped now."""
        for name, done in self._dropped:
            if done.exception() is not None:
                self.now(_drop(name))
        self._thread.submit(self._forget).result()
        self._thread.shutdown()

    def _clone(self, template: str, name: str) -> None:
        # Copying files is faster than logging every page; before 15 there is nothing else.
        how = " STRATEGY file_copy" if self._version() >= STRATEGIES_SINCE else ""
        self._do(f'CREATE DATABASE "{name}" TEMPLATE "{template}"{how}')

    def _version(self) -> int:
        if self._server_version is None:
            self._server_version = self._connected().info.server_version
        return self._server_version

    def _do(self, statement: str) -> None:
        try:
            self._connected().execute(statement.encode())
        except psycopg.OperationalError:
            self._forget()
            raise

    def _connected(self) -> psycopg.Connection:
        if self._connection is None:
            self._connection = psycopg.connect(self._url, autocommit=True)
        return self._connection

    def _forget(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None


class Clones:
    """Clones of one template, the next one made ahead."""

    def __init__(self, databases: Databases, template: str) -> None:
        self._databases = databases
        self._template = template
        self._next = self._begin()

    def take(self) -> str:
        """The name of a fresh clone."""
        name, made = self._next
        if made.exception() is not None:
            self._databases.drop(name)  # it may exist in part
            name, made = self._begin()
            made.result()
        self._next = self._begin()
        return name

    def close(self) -> None:
        """Drop the one that nobody took."""
        self._databases.drop(self._next[0])

    def _begin(self) -> tuple[str, Done]:
        name = f"test_{secrets.token_hex(6)}"
        return name, self._databases.create(self._template, name)


def _drop(name: str) -> str:
    return f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'
