"""A PgBouncer in front of the tests' Postgres, of fewer connections than its clients have."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import make_url

from stoker.embedded import binaries
from stoker.embedded.pgbouncer import PgBouncer, pooled
from stoker.embedded.process import EmbeddedError

CONNECTIONS = 3
"""To each database. Clients with more than these hop from one to the other."""


@contextmanager
def pooler(
    database_url: str, *, connections: int = CONNECTIONS, mode: str = "transaction"
) -> Iterator[PgBouncer]:
    """A running PgBouncer; skips the test where there is none to run."""
    skip_without_pgbouncer()
    with pooled(make_url(database_url), connections=connections, mode=mode) as running:
        yield running


def skip_without_pgbouncer() -> None:
    """Skip the test, and say why, where there is no PgBouncer to run."""
    try:
        binaries.pgbouncer()
    except EmbeddedError as missing:
        pytest.skip(str(missing))
