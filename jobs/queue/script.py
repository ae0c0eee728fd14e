"""Lua scripts by their digest, and the one place where errors of the queue Redis are translated.

When Redis does not answer, is full, read-only or still loading, callers see QueueUnavailable.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha1
from importlib.resources import files
from typing import Any

import redis as sync_redis
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from jobs.errors import QueueUnavailable

Argument = str | bytes | int
REFUSALS = ("OOM", "READONLY", "LOADING", "MISCONF", "MASTERDOWN", "NOREPLICAS")
"""Answers of a Redis that cannot take a write now but may later."""


class Script:
    """A script of one package's `lua` folder: EVALSHA, and EVAL where the server does not know it yet."""

    def __init__(self, package: str, name: str) -> None:
        self.source = files(package).joinpath("lua", f"{name}.lua").read_bytes()
        self.sha = sha1(self.source, usedforsecurity=False).hexdigest()

    async def __call__(self, redis: Redis, *arguments: Argument) -> Any:  # noqa: ANN401 - a script's reply
        """Run it; raises QueueUnavailable. All arguments are ARGV: a queue is never a Cluster."""
        client: Any = redis  # the driver's commands are untyped
        with answering():
            try:
                return await client.execute_command("EVALSHA", self.sha, 0, *arguments)
            except NoScriptError:
                return await client.execute_command("EVAL", self.source, 0, *arguments)

    def in_thread(self, redis: sync_redis.Redis, *arguments: Argument) -> Any:  # noqa: ANN401 - as above
        """The same, blocking."""
        client: Any = redis
        with answering():
            try:
                return client.execute_command("EVALSHA", self.sha, 0, *arguments)
            except NoScriptError:
                return client.execute_command("EVAL", self.source, 0, *arguments)


@contextmanager
def answering() -> Iterator[None]:
    """Translate the driver's errors of a Redis that is away or refuses writes into QueueUnavailable."""
    try:
        yield
    except (RedisConnectionError, RedisTimeoutError, OSError) as error:
        raise QueueUnavailable(f"the queue Redis does not answer: {type(error).__name__}: {error}") from error
    except ResponseError as error:
        refusal = next((word for word in REFUSALS if word in str(error).split(":")[0]), None)
        if refusal is None:
            raise
        raise QueueUnavailable(_refused(refusal)) from error


def _refused(refusal: str) -> str:
    if refusal == "OOM":
        return "the queue Redis is full (maxmemory): raise its memory; what is queued still runs"
    return f"the queue Redis takes no writes now ({refusal})"
