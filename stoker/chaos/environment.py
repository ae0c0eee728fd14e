"""Settings of the processes under chaos, as environment variables: shorter times, none of this shell's."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import SecretStr

from stoker import Settings
from stoker.chaos.surroundings import FOLDER, WORKLOAD
from stoker.embedded import Urls
from stoker.settings import CacheSettings, QueueSettings

KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV")
"""Variables that the processes inherit: settings of this shell must not reach them."""

PREFIX = "chaos"
RUN: dict[str, object] = {
    # Times are shortened so that a run of minutes covers them; the guarantees are the same at any value.
    "CACHE__PREFIX": PREFIX,
    "QUEUE__PREFIX": PREFIX,
    "CACHE__FAIL_SAFE_S": 10,
    "CACHE__LEASE_S": 5,
    "CACHE__LEASE_WAIT_S": 1,
    "CACHE__BREAKER_RETRY_S": 0.3,
    "CACHE__BREAKER_UNSETTLED_S": 10,
    "CACHE__WATCH_S": 1,
    "CACHE__STATS_FLUSH_S": 1,
    "LOADERS__CONNECTIONS": 8,
    "LOADERS__STATEMENT_TIMEOUT_S": 4,
    "DATABASE__CONNECT_TIMEOUT_S": 2,
    "QUEUE__TIMEOUT_S": 1,
    "CHANGES__IDLE_IN_TRANSACTION_S": 3,
    "CHANGES__FIRST_BACKOFF_S": 0.5,
    "CHANGES__LONGEST_BACKOFF_S": 2,
    "WORKER__STOP_DEADLINE_S": 2,
    "WORKER__SWEEP_S": 1,
    "LANES__REFRESH__CONCURRENCY": 8,
    "LANES__WARM__CONCURRENCY": 6,
    "SCHEDULE__LEASE_S": 5,
    "SCHEDULE__RETRY_S": 1,
    "LOG__LEVEL": "info",
}


def environment_of(workload: str, folder: Path, urls: Urls, term_ms: int) -> dict[str, str]:
    """The whole environment of a process; `urls`: as it reaches the servers."""
    defaults = folder / "settings.toml"  # empty: every other setting has its default
    defaults.touch()
    return {
        **{name: os.environ[name] for name in KEPT if name in os.environ},
        **{f"STOKER__{name}": str(value) for name, value in RUN.items()},
        "STOKER__CACHE__TERM_MS": str(term_ms),
        "STOKER_SETTINGS": str(defaults),
        "STOKER__DOMAIN": "stoker.chaos.domain",
        "DATABASE_URL": urls.database,
        "REDIS_URL": urls.queue,
        "CACHE_REDIS_URL": urls.cache,
        WORKLOAD: workload,
        FOLDER: str(folder),
    }


def settings_of(urls: Urls) -> Settings:
    """The settings of the driver's own Stoker."""
    return Settings(
        database_url=SecretStr(urls.database),
        redis_url=SecretStr(urls.queue),
        cache_redis_url=SecretStr(urls.cache),
        cache=CacheSettings(prefix=PREFIX),
        queue=QueueSettings(prefix=PREFIX),
    )
