"""Lua scripts by their digest, and the one place where errors of the queue Redis are translated.

When Redis does not answer, or answers that it cannot or may not do it, callers see QueueUnavailable.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from hashlib import sha1
from importlib.resources import files
from typing import Any

import redis as sync_redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import (
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)
from redis.exceptions import TimeoutError as RedisTimeoutError

from stoker.errors import QueueUnavailable
from stoker.settings import QueueSettings

Argument = str | bytes | int
REFUSAL = re.compile(
    # A Redis before 7 wraps what a command inside a script was told.
    r"(?:^|: -)(?:BUSY|CLUSTERDOWN|LOADING|MASTERDOWN|MISCONF|NOAUTH|NOPERM|NOREPLICAS|READONLY|TRYAGAIN"
    # A server that became a replica ends what blocks; somebody has put another type of value under a key.
    r"|UNBLOCKED|WRONGTYPE) "
)
"""In answers of a Redis that cannot do it now, or may not: the call itself is right."""


class Script:
    """A script of one package's `lua` folder: EVALSHA, and EVAL where the server does not know it yet.

    All arguments are ARGV, the prefix first: a queue is never a Cluster. stoker/queue/connection.py
    makes the call.
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
    """Translate the driver's errors of a Redis that is away or refuses into QueueUnavailable."""
    try:
        yield
    except OutOfMemoryError as error:
        raise QueueUnavailable(
            "the queue Redis is full (maxmemory): raise its memory; what is queued still runs"
        ) from error
    except (RedisConnectionError, RedisTimeoutError, OSError) as error:  # TimeoutError is an OSError
        raise QueueUnavailable(f"the queue Redis does not answer: {type(error).__name__}: {error}") from error
    except ResponseError as error:
        # Of these two the driver has taken the first word away.
        if isinstance(error, ReadOnlyError | NoPermissionError) or REFUSAL.search(str(error)):
            raise QueueUnavailable(f"the queue Redis refuses: {error}") from error
        raise
