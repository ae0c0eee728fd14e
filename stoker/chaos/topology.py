"""How the servers of a run are arranged, and where its processes find them.

The driver and its checks reach each server directly, whatever stands between it and the processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from sqlalchemy import make_url

from stoker.embedded import Embedded, Server, Urls
from stoker.embedded.pgbouncer import pooled

POOLED = 12
"""Connections of the pooler: fewer than its clients have, so that they wait and hop."""


@dataclass(frozen=True)
class Arrangement:
    """`urls`: as the processes' links lead to them."""

    urls: Urls
    pooler: Server | None = None


@contextmanager
def arranged(topology: str, servers: Embedded) -> Iterator[Arrangement]:
    """Start what the topology needs beside the servers; raises EmbeddedError where it cannot."""
    if topology != "pgbouncer":
        yield Arrangement(servers.urls)
        return
    with pooled(make_url(servers.urls.database), connections=POOLED) as pooler:
        yield Arrangement(replace(servers.urls, database=pooler.url), pooler)
