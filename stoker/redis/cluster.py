"""The cache as a Redis or Valkey Cluster: each call goes to the primary that has its keys.

It has the interface of `CacheClient`, and one of those for each primary. A node that is away costs its slots
SQL, and nothing else (nodes.py). Several commands at once are in several.py. docs/decisions/0026 has the
arguments.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from redis.exceptions import ResponseError

from stoker.errors import CacheUnavailable
from stoker.redis import several
from stoker.redis.cache import NONCE_KEY, Answer, CacheClient, NodeAway
from stoker.redis.connection import ServerRun
from stoker.redis.direct import DirectConnection
from stoker.redis.nodes import Primaries
from stoker.redis.several import Command
from stoker.redis.slots import slot_of
from stoker.settings.topology import is_cluster, nodes


class CacheCluster(CacheClient):
    """Connections to every primary of a cluster. For one event loop."""

    is_cluster = True
    can_lend = False  # threads ask through the loop: a lent connection leads to one node

    def __init__(self, url: str, *, timeout_s: float, connections: int, nonce_key: str = NONCE_KEY) -> None:
        seeds = nodes(url)
        super().__init__(seeds[0], timeout_s=timeout_s, connections=connections, nonce_key=nonce_key)
        self._primaries = Primaries(seeds, timeout_s=timeout_s, connections=connections, nonce_key=nonce_key)
        self._owners = self._primaries.owners

    async def ask(self, packed: bytes, key: str = "", count: int = 1) -> Answer:  # noqa: ARG002 - one, here
        """As of one server; raises NodeAway if the key's node is away, or its slot is being moved."""
        slot = slot_of(key)
        node = self._owners[slot]
        if node is None or node.away is not None:
            node = await self._primaries.owner(slot)
        try:
            answer = await node.client.ask(packed)
        except CacheUnavailable as error:
            raise self._primaries.lost(node, error) from error
        reply = answer.replies[0]
        if isinstance(reply, ResponseError):
            if moved := self._primaries.moved(node, reply):
                node, answer = moved, await self._primaries.asked(moved, packed)
            self._primaries.refuse_elsewhere(node, answer.replies[0])
        return answer

    async def ask_each(self, asked: Sequence[tuple[bytes, str]]) -> Sequence[Answer | NodeAway]:
        """One packet to each node."""
        return await several.ask_each(self._primaries, asked, self.ask)

    async def call(self, *commands: Command) -> Answer:
        """Send each command to the node of its first key; the nodes are asked at the same time.

        A NodeAway stands for each reply that could not be had. Raises CacheUnavailable where no node is
        known.
        """
        return await several.call(self._primaries, commands)

    async def lend(self) -> DirectConnection:
        """Not of a cluster."""
        raise CacheUnavailable("connections to a cluster are not lent to threads")

    async def server(self, key: str = "") -> ServerRun:
        """The node of a key."""
        node = await self._primaries.owner(slot_of(key))
        try:
            return await node.client.server()
        except CacheUnavailable as error:
            raise self._primaries.lost(node, error) from error

    async def run(self, *, asked: bool = False) -> str:
        """The runs of the nodes that answer, sorted, with commas in between; raises CacheUnavailable."""
        told = await asyncio.gather(
            *(node.client.run(asked=asked) for node in await self._primaries.answering()),
            return_exceptions=True,
        )
        runs = sorted(one for one in told if isinstance(one, str))
        if not runs:
            raise CacheUnavailable("no node of the cache Redis answers")
        return ",".join(runs)

    def together(self, keys: Sequence[str]) -> Sequence[Sequence[str]]:
        """Each alone: a command with one key is never told to try again while its slot is moved."""
        return [[key] for key in keys]

    async def primaries(self) -> Sequence[CacheClient]:
        """The clients of all primaries; raises NodeAway if one is away."""
        answering = await self._primaries.answering()
        if len(answering) < len(self._primaries.owning()):
            raise NodeAway.each(NodeAway.of(*one) for one in self.away.items())
        return [node.client for node in answering]

    async def layout(self) -> object:
        """What each primary says of its own slots and of their epoch, from the nodes themselves."""
        await self._primaries.learn()
        told = await asyncio.gather(*(one.call(("CLUSTER", "NODES")) for one in await self.primaries()))
        lines = sorted(tuple(_own_line(answer.first())) for answer in told)
        return lines if not any(part.startswith(b"[") for line in lines for part in line) else None

    async def returning(self) -> Sequence[str]:
        """The nodes that are away, have slots by the map, and answer a call."""
        return await self._primaries.returning()

    @property
    def away(self) -> Mapping[str, str]:
        """Of the nodes that have slots."""
        return self._primaries.away

    def hold(self, node: str, reason: str) -> None:
        """Do not use a node until `use`."""
        self._primaries.hold(node, reason)

    def use(self, node: str) -> None:
        """Use a node again."""
        self._primaries.use(node)

    def doubt(self) -> None:
        """Every connection must confirm its primary, and its epoch, before it is used again."""
        self._primaries.doubt()

    async def close(self) -> None:
        """Close every connection."""
        await self._primaries.close()

    def standing(self) -> Sequence[tuple[str, int, str | None]]:
        """Each primary that has slots by the map that was learnt last."""
        return self._primaries.standing()

    def clients(self) -> Mapping[str, CacheClient]:
        """Of each primary that has slots, also of one that is not used now."""
        return self._primaries.clients()


def cache_client(url: str, *, timeout_s: float, connections: int, nonce_key: str) -> CacheClient:
    """The client that a URL asks for: of a cluster, or of one server."""
    kind = CacheCluster if is_cluster(url) else CacheClient
    return kind(url, timeout_s=timeout_s, connections=connections, nonce_key=nonce_key)


def _own_line(told: bytes) -> Sequence[bytes]:
    """What a node says of itself in CLUSTER NODES: its id, its epoch, its slots, and those that are moved."""
    [own] = [line.split() for line in told.splitlines() if b"myself" in line]
    return own[0], own[6], *own[8:]
