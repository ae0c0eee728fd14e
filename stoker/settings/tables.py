"""The tables of settings.toml that a web app reads, a class each.

Every field says its unit and what it does; one with a default that is right for most has it here.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt

LONGEST_TTL_S = 4_000_000
"""46 days. The header of an entry keeps its life as milliseconds in 32 bits."""
Ttl = Annotated[float, Field(gt=0, le=LONGEST_TTL_S)]


class Table(BaseModel):
    """A table of settings.toml: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class CacheSettings(Table):
    """Table [cache]."""

    prefix: str = Field(default="stoker", pattern=r"^[a-z][a-z0-9-]{0,31}$")
    """First part of every key, another for each application on a Redis. Worker and web apps must agree: what
    the one invalidates under another prefix, the others would go on showing; their breakers open."""
    ttl_s: dict[str, Ttl] = {}
    """Seconds until an entry of a view expires, by view name; views left out keep their declared TTL."""
    ttl_jitter: float = Field(default=0.1, ge=0, le=0.5)
    """Share by which TTLs are shortened at random, so that what was filled together expires apart."""
    fail_safe_s: float = Field(default=600, ge=0, le=LONGEST_TTL_S)
    """Seconds past its TTL for which an entry is kept to be served, marked stale, when its loader fails."""
    eager_refresh: float = Field(default=0.8, ge=0.1, le=1)
    """Share of its TTL after which an entry that is read asks for a refresh; 1 turns it off."""
    lease_s: PositiveFloat = 20
    """Seconds for which one process may build an entry. Longer than loaders.statement_timeout_s."""
    lease_wait_s: PositiveFloat = 2
    """Seconds that a reader waits for another process's build before it builds by itself."""
    compress_from_bytes: PositiveInt = 1024
    """Bodies of at least this size are compressed with zstd where that makes them smaller."""
    near_bytes: int = Field(default=32 * 1024 * 1024, ge=0)
    """Memory in bytes in which each process keeps entries it read, served only after their stamps were read;
    0 keeps none."""
    near_unasked_ms: int = Field(default=0, ge=0, le=60_000)
    """Milliseconds for which a kept entry that was found valid is served without asking Redis; 0 always asks.
    For that long a process may show what a change has replaced. Never for entries that access guards."""
    timeout_s: PositiveFloat = 0.5
    """Seconds for one call to the cache Redis, after which the breaker opens."""
    connections: PositiveInt = 8
    """Connections to the cache Redis per process; each is shared, a second opens when 16 calls wait."""
    breaker_retry_s: PositiveFloat = 1
    """Seconds between attempts to reach a cache that was away."""
    breaker_unsettled_s: PositiveFloat = 30
    """Age in seconds of the oldest unsettled event above which reads bypass the cache: a dead worker must
    not mean stale pages."""
    watch_s: PositiveFloat = 5
    """Seconds between looks at the oldest unsettled event, in every process that reads."""
    stats_flush_s: PositiveFloat = 2
    """Seconds between writes of a process's counters and read presence to the cache Redis."""


class LoaderSettings(Table):
    """Table [loaders]: the connections on which entries are built."""

    connections: PositiveInt = 8
    """SQL connections per process for building entries: the cap on loads that run at once."""
    statement_timeout_s: PositiveFloat = 10
    """Seconds after which Postgres ends a loader's statement. Shorter than cache.lease_s."""


class DatabaseSettings(Table):
    """Table [database]: the connections of services, outbox and worker."""

    connections: PositiveInt = 10
    """SQL connections per process, besides the loaders' own."""
    connect_timeout_s: PositiveFloat = 5
    """Seconds to connect, or to answer on a connection that was kept, before Postgres counts as away."""
    deadline_s: PositiveFloat = 5
    """Seconds that a read may wait for SQL, its turn for a connection included; then it raises
    DatabaseUnavailable, and its load goes on for the next reader. A Postgres that answers nothing for so long
    counts as silent: whoever waits for it gets an error, and whoever comes is refused until it answers."""
    idle_in_transaction_s: PositiveFloat = 30
    """Seconds after which Postgres ends a transaction that does nothing, with its locks: its process may have
    died or lost its link. Above what your code does between two statements of one transaction."""
    command_timeout_s: PositiveFloat = 30
    """Seconds for one statement of services, outbox and worker, after which Postgres counts as away: it may
    have gone without a word. For reports and exports that take longer use an engine of your own."""


class QueueSettings(Table):
    """Table [queue]."""

    prefix: str = Field(default="stoker", pattern=r"^[a-z][a-z0-9-]{0,31}$")
    """First part of the queues' names. Web app and worker must agree."""
    timeout_s: PositiveFloat = 2
    """Seconds for one call to the queue Redis."""
    connections: PositiveInt = 20
    """Connections to the queue Redis per process."""
    expires_s: PositiveInt = 30 * 86400
    """Seconds that a payload is kept past the time it was due (arq's own default is a day)."""
    allow_eviction: bool = False
    """Start on a queue Redis whose policy may evict jobs. Only for development."""


class ChangesSettings(Table):
    """Table [changes]: outbox and relay."""

    batch: PositiveInt = 5000
    """Events that a relay claims in one transaction."""
    idle_in_transaction_s: PositiveFloat = 10
    """Seconds after which Postgres frees the rows of a relay that froze after its claim (RACES 35)."""
    first_backoff_s: PositiveFloat = 1
    """Seconds before an event that failed alone is tried again; doubles with each attempt."""
    longest_backoff_s: PositiveFloat = 300
    """The longest of those delays in seconds."""
    keep_settled_s: PositiveInt = 86400
    """Seconds that settled events are kept. At least the longest TTL."""
    refresh_hot: bool = True
    """Ask for a refresh of hot entries that a change invalidated."""
