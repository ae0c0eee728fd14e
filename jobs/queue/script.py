"""Lua scripts by their digest, and the one place where errors of the queue Redis are translated.

When Redis does not answer, is full, read-only or still loading, callers see QueueUnavailable.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from hashlib import sha1
from importlib.resources import files
from typing import Any

import redis as sync_redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, OutOfMemoryError, ReadOnlyError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from jobs.errors import QueueUnavailable
from jobs.settings import QueueSettings

Argument = str | bytes | int
REFUSALS = ("MISCONF", "MASTERDOWN", "NOREPLICAS", "READONLY", "LOADING")
"""How answers begin of a Redis that cannot take a write now but may later."""


class Script:
    """A script of one package's `lua` folder: EVALSHA, and EVAL where the server does not know it yet.

    All arguments are ARGV, the prefix first: a queue is never a Cluster. See jobs/queue/line.py for the call.
    """

    def __init__(self, package: str, name: str) -> None:
        self.source = files(package).joinpath("lua", f"{name}.lua").read_bytes()
        self.sha = sha1(self.source, usedforsecurity=False).hexdigest()

    def in_thread(self, redis: sync_redis.Redis, settings: QueueSettings, *arguments: Argument) -> Any:  # noqa: ANN401 - a reply
        """Run it on a client that blocks, within that client's own time limits; raises QueueUnavailable."""
        client: Any = redis
        with translated():
            try:
                return client.execute_command("EVALSHA", self.sha, 0, settings.prefix, *arguments)
            except NoScriptError:
                return client.execute_command("EVAL", self.source, 0, settings.prefix, *arguments)


@asynccontextmanager
async def answering(within_s: float) -> AsyncIterator[None]:
    """Bound calls in time, and translate what they raise into QueueUnavailable."""
    with translated():
        async with asyncio.timeout(within_s):
            yield


@contextmanager
def translated() -> Iterator[None]:
    """Translate the driver's errors of a Redis that is away or refuses writes into QueueUnavailable."""
    try:
        yield
    except OutOfMemoryError as error:
        raise QueueUnavailable(
            "the queue Redis is full (maxmemory): raise its memory; what is queued still runs"
        ) from error
    except (RedisConnectionError, RedisTimeoutError, OSError) as error:  # TimeoutError is an OSError
        raise QueueUnavailable(f"the queue Redis does not answer: {type(error).__name__}: {error}") from error
    except ResponseError as error:
        if isinstance(error, ReadOnlyError) or str(error).startswith(REFUSALS):
            raise QueueUnavailable(f"the queue Redis takes no writes now: {error}") from error
        raise
