"""A PgBouncer in front of the tests' Postgres, of fewer connections than its clients have."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import make_url

from stoker.embedded import binaries
from stoker.embedded.pgbouncer import PgBouncer
from stoker.embedded.process import EmbeddedError

CONNECTIONS = 3
"""To each database. Clients with more than these hop from one to the other."""


@contextmanager
def pooler(
    database_url: str, *, connections: int = CONNECTIONS, mode: str = "transaction"
) -> Iterator[PgBouncer]:
    """A running PgBouncer; skips the test where there is none to run."""
    try:
        binaries.pgbouncer()
    except EmbeddedError as missing:
        pytest.skip(str(missing))
    folder = Path(tempfile.mkdtemp(prefix="stoker-pgbouncer-"))
    running = PgBouncer(make_url(database_url), folder, connections=connections, mode=mode)
    try:
        running.start()
        yield running
    finally:
        running.stop()
        shutil.rmtree(folder, ignore_errors=True)
