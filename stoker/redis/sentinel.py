"""Where the primary is now, by the Sentinels that watch it: asked each time a connection is opened.

A connection is used only if its server says itself that it is a primary: a Sentinel may not have heard of a
failover yet. Raises RedisAway, or redis-py's errors.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import redis as sync_redis
from redis.asyncio.connection import AbstractConnection, Connection, parse_url
from redis.exceptions import RedisError
from redis.sentinel import Sentinel

from stoker.errors import first_line
from stoker.redis.errors import RedisAway
from stoker.settings.topology import Sentinels, is_sentinel
from stoker.settings.urls import address_of

NO_SENTINEL = "is no Sentinel: write redis://host:6379/0 for a server itself"
UNKNOWN = "unknown command"
"""What a server that is no Sentinel says."""


def options_of(url: str) -> dict[str, Any]:
    """What redis-py's connections take; of a URL of Sentinels with another `host` than the primary's."""
    return dict(parse_url(Sentinels.of(url).primary if is_sentinel(url) else url))


class Search:
    """Finds the primary of one URL, and confirms connections to it. `name`: of the server, in errors."""

    def __init__(self, url: str, name: str, limit_s: float) -> None:
        self._sentinels = Sentinels.of(url)
        self._name = name
        self._limit_s = limit_s

    async def find(self) -> dict[str, Any]:
        """The host and port of the primary, by the first Sentinel that tells them; raises RedisAway."""
        urls = list(self._sentinels.urls)
        asked = [asyncio.create_task(self._told_by(url)) for url in urls]
        said: list[str] = []
        try:
            for each in asyncio.as_completed(asked):
                try:
                    if (found := await each) is not None:
                        return {"host": found[0].decode(), "port": int(found[1])}
                except (RedisError, OSError) as error:  # TimeoutError is an OSError
                    said.append(first_line(error))
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        if len(said) < len(urls):
            raise RedisAway(
                f"{self._name}: its Sentinels know no master {self._sentinels.name!r}: compare the name in "
                "the URL with `sentinel monitor` in their configuration"
            )
        if all(UNKNOWN in one for one in said):
            raise RedisAway(f"{self._name} {NO_SENTINEL}")
        raise RedisAway(f"{self._name}: none of its Sentinels answers: {said[0]}")

    async def confirm(self, connection: AbstractConnection) -> None:
        """Raise RedisAway unless a connection leads to a primary."""
        await connection.send_command("ROLE")
        role, *_ = await connection.read_response()
        if role != b"master":
            raise RedisAway(f"{self._name}: the server that its Sentinels name is not a primary yet")

    async def _told_by(self, url: str) -> Sequence[bytes] | None:
        options = options_of(url)
        connection = options.pop("connection_class", Connection)(**options)
        try:
            async with asyncio.timeout(self._limit_s):
                await connection.connect()
                await connection.send_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._sentinels.name)
                found: Sequence[bytes] | None = await connection.read_response()
                return found
        finally:
            await connection.disconnect(nowait=True)


def blocking_client(url: str, limit_s: float) -> sync_redis.Redis:
    """redis-py's client for threads, each of whose calls takes `limit_s` at most."""
    limits = {"socket_timeout": limit_s, "socket_connect_timeout": limit_s}
    if not is_sentinel(url):
        return sync_redis.Redis.from_url(url, **limits)
    known = Sentinels.of(url)
    addresses = [address_of(one).rpartition(":") for one in known.urls]
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        [(host.strip("[]"), int(port)) for host, _, port in addresses],
        sentinel_kwargs={**_as_arguments(known.urls[0]), **limits},
    )
    of_primary = _as_arguments(known.primary)
    client: sync_redis.Redis = sentinel.master_for(known.name, **of_primary, **limits)  # type: ignore[no-untyped-call]
    return client


def _as_arguments(url: str) -> dict[str, Any]:
    """What `redis.Redis` takes in place of what its connections take."""
    options = options_of(url)
    tls = options.pop("connection_class", None) is not None
    return {name: value for name, value in options.items() if name not in {"host", "port"}} | {"ssl": tls}
