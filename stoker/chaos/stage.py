"""Sets the stage: servers, a database and settings of the run's own, in a folder of its own.

Chaos never uses the servers of DATABASE_URL and REDIS_URL: it kills, empties and fills what it uses.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from stoker import Domain, Settings, embedded
from stoker.chaos import acts
from stoker.chaos.options import ChaosOptions
from stoker.chaos.surroundings import FOLDER, HEALED, WORKLOAD
from stoker.chaos.workload import ChaosWorkload
from stoker.domain import load_domain
from stoker.embedded import Embedded
from stoker.migrate import migrate
from stoker.settings import CacheSettings, QueueSettings

KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV")
"""Variables that the processes inherit: settings of this shell must not reach them."""

PREFIX = "chaos"
RUN: dict[str, object] = {
    # Times are shortened to what a run of minutes can show; all guarantees are the same at any value.
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
    "SCHEDULE__WARM_ACTIVE_EVERY_S": 7,
    "SCHEDULE__KEEP_WARM_EVERY_S": 3,
    "SCHEDULE__LEASE_S": 5,
    "SCHEDULE__RETRY_S": 1,
    "LOG__LEVEL": "info",
}


@dataclass(frozen=True)
class Stage:
    """Where a run takes place."""

    folder: Path
    servers: Embedded
    domain: Domain
    environment: dict[str, str]

    @property
    def settings(self) -> Settings:
        """What the driver's own Stoker needs."""
        urls = self.servers.urls
        return Settings(
            database_url=SecretStr(urls.database),
            redis_url=SecretStr(urls.queue),
            cache_redis_url=SecretStr(urls.cache),
            cache=CacheSettings(prefix=PREFIX),
            queue=QueueSettings(prefix=PREFIX),
        )

    @property
    def healed(self) -> Path:
        """While this file exists poison events can be applied."""
        return self.folder / HEALED


@contextmanager
def staged(options: ChaosOptions, workload: ChaosWorkload) -> Iterator[Stage]:
    """Servers and a folder, gone at the end."""
    options.data_dir.mkdir(parents=True, exist_ok=True)
    servers_at = Path(tempfile.mkdtemp(prefix="chaos-", dir=options.data_dir))
    # Sockets of the web apps are here: their paths must be short.
    folder = Path(tempfile.mkdtemp(prefix="stoker-chaos-"))
    try:
        with embedded.start(servers_at / "servers", durable=False) as servers:
            environment = _environment(options, folder, servers)
            yield Stage(folder, servers, acts.changed(load_domain(workload.domain)), environment)
    finally:
        if not options.keep:
            shutil.rmtree(servers_at, ignore_errors=True)
            shutil.rmtree(folder, ignore_errors=True)


async def filled(stage: Stage, workload: ChaosWorkload, seed: int) -> None:
    """Tables, and what the workload puts into them."""
    await migrate(stage.servers.urls.database, load_domain(workload.domain))
    await workload.prepare(stage.servers.urls.database, seed)


def _environment(options: ChaosOptions, folder: Path, servers: Embedded) -> dict[str, str]:
    settings = {f"STOKER__{name}": str(value) for name, value in RUN.items()}
    defaults = folder / "settings.toml"  # empty: all that is not said here has its default
    defaults.touch()
    return {
        **{name: os.environ[name] for name in KEPT if name in os.environ},
        **settings,
        "STOKER_SETTINGS": str(defaults),
        "DATABASE_URL": servers.urls.database,
        "REDIS_URL": servers.urls.queue,
        "CACHE_REDIS_URL": servers.urls.cache,
        WORKLOAD: options.workload,
        FOLDER: str(folder),
    }
