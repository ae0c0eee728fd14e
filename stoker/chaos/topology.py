"""How the servers of a run are arranged, and where its processes find them.

The driver and its checks reach each server directly, whatever stands between it and the processes.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from sqlalchemy import make_url

from stoker.embedded import Embedded, Server, Urls
from stoker.embedded.cluster import Cluster
from stoker.embedded.pgbouncer import PgBouncer, pooled
from stoker.embedded.sentinels import Watched, watching

POOLED = 12
"""Connections of the pooler: fewer than its clients have, so that they wait and hop."""
NO_DISK = ("--save", "", "--appendonly", "no")
PAIRS = {
    "queue": ("--save", "", "--appendonly", "yes", "--appendfsync", "no", "--maxmemory-policy", "noeviction"),
    "cache": (*NO_DISK, "--maxmemory", "256mb", "--maxmemory-policy", "allkeys-lfu"),
}
"""Options of the servers behind Sentinels: those of their roles."""


@dataclass(frozen=True)
class Servers:
    """The servers of a run. `reached`: as the processes' links lead to them."""

    embedded: Embedded
    """With Sentinels only its Postgres is used."""
    reached: Urls
    between: PgBouncer | None = None
    watched: Mapping[str, Watched] = field(default_factory=dict)

    @property
    def queue(self) -> Server:
        """The primary of the queue, as it is now."""
        return self.watched["queue"].primary if self.watched else self.embedded.queue

    @property
    def cache(self) -> Server:
        """The same of the cache; raises EmbeddedError where a cluster is in its place."""
        return self.watched["cache"].primary if self.watched else self.embedded.cache

    @property
    def cluster(self) -> Cluster:
        """The nodes of a cache that is one."""
        return self.embedded.cluster

    @property
    def postgres(self) -> Server:
        """The database server."""
        return self.embedded.postgres

    @property
    def pooler(self) -> Server:
        """The pooler of a topology that has one."""
        assert self.between is not None  # noqa: S101 - its faults belong to that topology
        return self.between

    @property
    def urls(self) -> Urls:
        """Of each server itself, as it is now."""
        found = self.embedded.urls
        if not self.watched:
            return found
        queue, cache = (self.watched[role].primary.url for role in ("queue", "cache"))
        return replace(found, queue=queue, cache=cache)


@contextmanager
def arranged(topology: str, embedded: Embedded) -> Iterator[Servers]:
    """Start what the topology needs beside the servers; raises EmbeddedError where it cannot."""
    urls = embedded.urls
    if topology == "pgbouncer":
        with pooled(make_url(urls.database), connections=POOLED) as pooler:
            yield Servers(embedded, replace(urls, database=pooler.url), pooler)
    elif topology == "sentinel":
        with _folder() as folder, watching(folder, PAIRS) as watched:
            reached = replace(urls, queue=watched["queue"].url, cache=watched["cache"].url)
            yield Servers(embedded, reached, watched=watched)
    else:
        yield Servers(embedded, urls)


@contextmanager
def _folder() -> Iterator[Path]:
    """Of a short path, as those of sockets must be."""
    folder = Path(tempfile.mkdtemp(prefix="stoker-sentinels-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
