"""For the tests of applications: real servers from wheels, and the worker's part done here and now.

Needs the extras `embedded` and `worker`. Never used by a process that serves somebody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stoker import embedded
from stoker.domain import Domain
from stoker.handlers import relay
from stoker.migrate import migrate
from stoker.settings import Settings, load_settings
from stoker.stoker import Stoker

__all__ = ["apply", "servers"]


@contextmanager
def servers(folder: Path, domain: Domain) -> Iterator[Settings]:
    """Servers in a folder, with the tables of Stoker and of the domain; yields settings that lead there.

    Takes a second, and stops them at the end. Not for use inside a running event loop: make it a fixture of
    the session. Raises EmbeddedError when a server cannot start.
    """
    with embedded.start(folder, durable=False) as running:
        urls = running.urls
        asyncio.run(migrate(urls.database, domain))
        yield load_settings(database_url=urls.database, redis_url=urls.queue, cache_redis_url=urls.cache)


async def apply(stoker: Stoker) -> int:
    """Apply everything that is recorded and committed, as a worker would; returns how many events that were.

    Raises CacheUnavailable or DatabaseUnavailable; the events then stay as they were.
    """
    return await relay.apply_all(stoker)
