"""Where the primary is now, by the Sentinels that watch it: asked each time a connection is opened.

More than half of them are heard, and the newest configuration is believed: one that is cut off from the
others still names the primary from before a failover, which may still take itself for one. A connection is
used only if its server says itself that it is a primary: the failover may be under way. Raises RedisAway, or
redis-py's errors.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

import redis as sync_redis
from redis.asyncio.connection import AbstractConnection, Connection, parse_url
from redis.exceptions import ConnectionError, RedisError, TimeoutError  # noqa: A004 - redis-py's names
from redis.sentinel import MasterNotFoundError, Sentinel

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


class _Told(NamedTuple):
    """What a Sentinel says: newer configurations have higher epochs."""

    epoch: int
    host: str
    port: int


def _enough(sentinels: Sequence[object]) -> int:
    """How many must answer: of any two such groups, one Sentinel is in both."""
    return len(sentinels) // 2 + 1


class Search:
    """Finds the primary of one URL, and confirms connections to it. `name`: of the server, in errors."""

    def __init__(self, url: str, name: str, limit_s: float) -> None:
        self._sentinels = Sentinels.of(url)
        self._name = name
        self._limit_s = limit_s

    async def find(self) -> dict[str, Any]:
        """The host and port of the primary, by the newest of what more than half of the Sentinels tell.

        Where fewer answer within the time limit, by the newest of theirs; raises RedisAway where none does.
        """
        urls = list(self._sentinels.urls)
        asked = [asyncio.create_task(self._told_by(url)) for url in urls]
        told: list[_Told] = []
        said: list[str] = []
        try:
            for each in asyncio.as_completed(asked):
                try:
                    if (found := await each) is not None:
                        told.append(found)
                except (RedisError, OSError) as error:  # TimeoutError is an OSError
                    said.append(first_line(error))
                if len(told) == _enough(urls):
                    break
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        if told:
            newest = max(told)
            return {"host": newest.host, "port": newest.port}
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

    async def _told_by(self, url: str) -> _Told | None:
        options = options_of(url)
        connection = options.pop("connection_class", Connection)(**options)
        name = self._sentinels.name
        # In one packet, so that no failover ends between the two answers. During one, MASTER has the new
        # epoch but still the old address.
        asked = [("SENTINEL", "GET-MASTER-ADDR-BY-NAME", name), ("SENTINEL", "MASTER", name)]
        try:
            async with asyncio.timeout(self._limit_s):
                await connection.connect()
                await connection.send_packed_command(connection.pack_commands(asked))
                address = await connection.read_response()
                if address is None:
                    return None
                fields = await connection.read_response()
                epoch = dict(zip(fields[::2], fields[1::2], strict=True))[b"config-epoch"]
                return _Told(int(epoch), address[0].decode(), int(address[1]))
        finally:
            await connection.disconnect(nowait=True)


class _Sentinels(Sentinel):
    """redis-py's for threads, which believes the newest configuration as `Search` does, and not the first."""

    def discover_master(self, service_name: str) -> tuple[str, int]:
        """Where the primary is; raises MasterNotFoundError. Those that answered are asked first next time."""
        told: dict[sync_redis.Redis, _Told] = {}
        for one in self.sentinels:
            try:
                state = one.sentinel_masters().get(service_name)  # type: ignore[no-untyped-call]
            except (ConnectionError, TimeoutError):
                continue
            if state and self.check_master_state(state, service_name):  # type: ignore[no-untyped-call]
                told[one] = _Told(state["config-epoch"], state["ip"], state["port"])
            if len(told) == _enough(self.sentinels):
                break
        if not told:
            raise MasterNotFoundError(f"no Sentinel that answers knows a master {service_name!r} that is up")
        self.sentinels = [*told, *(one for one in self.sentinels if one not in told)]
        newest = max(told.values())
        return newest.host, newest.port


def blocking_client(url: str, limit_s: float) -> sync_redis.Redis:
    """redis-py's client for threads, each of whose calls takes `limit_s` at most."""
    limits = {"socket_timeout": limit_s, "socket_connect_timeout": limit_s}
    if not is_sentinel(url):
        return sync_redis.Redis.from_url(url, **limits)
    known = Sentinels.of(url)
    addresses = [address_of(one).rpartition(":") for one in known.urls]
    sentinel = _Sentinels(  # type: ignore[no-untyped-call]
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
