"""The tables of settings.toml that a web app reads, a class each.

The docstring of a field is its description, also in settings.toml, which `make docs` makes from this code:
unit, effect, when to change it.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt

LONGEST_TTL_S = 4_000_000
"""46 days. The header of an entry has 32 bits for its TTL in milliseconds."""
LONGEST_TERM_MS = 1000
"""Whoever applies a change and cannot learn the term waits for so long."""
Ttl = Annotated[float, Field(gt=0, le=LONGEST_TTL_S)]


class Table(BaseModel):
    """A table of settings.toml: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class CacheSettings(Table):
    """Table [cache]."""

    prefix: str = Field(default="stoker", pattern=r"^[a-z][a-z0-9-]{0,31}$")
    """First part of every key; another one for each application on a Redis. The same in all processes of an
    installation: one that differs reads SQL until it is restarted with the right one."""
    ttl_s: dict[str, Ttl] = {}
    """Seconds until an entry expires, by view: { dashboard = 300 }. Views left out keep their declared
    TTL."""
    ttl_jitter: float = Field(default=0.1, ge=0, le=0.5)
    """Share by which TTLs are shortened at random, so that entries that were built together do not expire
    together. Raise it if rebuilds come in waves."""
    fail_safe_s: float = Field(default=600, ge=0, le=LONGEST_TTL_S)
    """Seconds past its TTL for which an entry may be served, marked stale, when its loader fails; 0:
    never."""
    eager_refresh: float = Field(default=0.8, ge=0.1, le=1)
    """Share of the TTL after which a read of an entry asks the worker for a refresh; 1: never."""
    lease_s: PositiveFloat = 20
    """Seconds for which one process may build an entry. Longer than loaders.statement_timeout_s."""
    lease_wait_s: PositiveFloat = 2
    """Seconds that a reader waits for another process's build before it builds the entry itself. Lower it if
    pages must answer sooner."""
    compress_from_bytes: PositiveInt = 1024
    """Bodies of at least so many bytes are compressed with zstd where that makes them smaller. Raise it to
    trade memory for CPU."""
    near_bytes: int = Field(default=32 * 1024 * 1024, ge=0)
    """Bytes of memory in which each process keeps entries that it has read. They are served only after their
    stamps were read in the same request. 0 keeps none."""
    term_ms: int = Field(default=0, ge=0, le=LONGEST_TERM_MS)
    """Milliseconds after an entry was found valid in which a process may serve it again without asking Redis;
    0: never. Every change waits that much longer until it counts as applied. The last worker that started
    sets it for all processes; a web process may go below it. See docs/reading.md."""
    timeout_s: PositiveFloat = 0.5
    """Seconds for one call to the cache Redis, after which the breaker opens. Raise it for a distant one."""
    connections: PositiveInt = 8
    """Connections to the cache Redis per process, at most. They are shared: a second one is opened when 16
    calls wait on the first."""
    breaker_retry_s: PositiveFloat = 1
    """Seconds between attempts to reach a cache that was away."""
    breaker_unsettled_s: PositiveFloat = 30
    """Age in seconds of the oldest unsettled event above which reads bypass the cache, so that a dead worker
    does not mean stale pages. Lower it for fresher ones."""
    watch_s: PositiveFloat = 5
    """Seconds between checks of the oldest unsettled event, in every process that reads."""
    stats_flush_s: PositiveFloat = 2
    """Seconds between writes of a process's counters to the cache Redis. Raise it with very many
    processes."""


class LoaderSettings(Table):
    """Table [loaders]: the connections on which entries are built."""

    connections: PositiveInt = 8
    """SQL connections per process for building entries, and so the number of loads that run at once. Raise it
    if builds wait and Postgres has room."""
    statement_timeout_s: PositiveFloat = 10
    """Seconds after which Postgres ends a loader's statement. Below cache.lease_s."""


class DatabaseSettings(Table):
    """Table [database]: the connections of services, outbox and worker."""

    schema_name: str = Field(default="stoker", pattern=r"^[a-z_][a-z0-9_]{0,62}$")
    """Postgres schema of Stoker's own tables. The same in all processes of an installation."""
    connections: PositiveInt = 10
    """SQL connections per process besides the loaders' own. In a worker, above the sum of the lanes'
    slots."""
    connect_timeout_s: PositiveFloat = 5
    """Seconds to connect, or to answer on a pooled connection, before Postgres counts as away."""
    deadline_s: PositiveFloat = 5
    """Seconds that a read may wait for SQL, its turn for a connection included; then it raises
    DatabaseUnavailable, and its load goes on for the next reader. A Postgres that answers nothing for so long
    counts as silent: all waits for it end with an error, and new calls are refused until it answers."""
    idle_in_transaction_s: PositiveFloat = 30
    """Seconds after which Postgres ends a transaction that does nothing, with its locks: its process may have
    died or lost its link. Above what your code does between two statements of one transaction."""
    command_timeout_s: PositiveFloat = 30
    """Seconds for one statement of services, outbox and worker, after which Postgres counts as away. Above
    what your slowest write takes; use an engine of your own for reports that take longer."""


class QueueSettings(Table):
    """Table [queue]."""

    prefix: str = Field(default="stoker", pattern=r"^[a-z][a-z0-9-]{0,31}$")
    """First part of the names of the queues; another one for each application on a Redis. The same in web
    processes and workers."""
    timeout_s: PositiveFloat = 2
    """Seconds for one call to the queue Redis. Raise it only for a distant one."""
    connections: PositiveInt = 20
    """Connections to the queue Redis per process."""
    expires_s: PositiveInt = 30 * 86400
    """Seconds that a job's payload is kept past the time at which it was due: 30 days."""
    allow_eviction: bool = False
    """Start on a queue Redis that may evict jobs. For development only."""


class ChangesSettings(Table):
    """Table [changes]: outbox and relay."""

    batch: PositiveInt = 5000
    """Events that a relay claims in one transaction. Lower it if its transactions last too long."""
    idle_in_transaction_s: PositiveFloat = 10
    """Seconds after which Postgres frees the rows of a relay that froze after its claim (RACES 35)."""
    first_backoff_s: PositiveFloat = 1
    """Seconds until an event that failed alone is tried again; doubles with each attempt."""
    longest_backoff_s: PositiveFloat = 300
    """The longest of these delays, in seconds."""
    keep_settled_s: PositiveInt = 86400
    """Seconds that applied events are kept. At least the longest TTL."""
    refresh_hot: bool = True
    """Ask for a rebuild of hot entries that a change has invalidated; false: the next reader builds them."""
