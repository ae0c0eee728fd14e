"""The cache as a Redis or Valkey Cluster: each call goes to the primary that has its keys.

It has the interface of `CacheClient`, and one of those for each primary. The slot map is learnt, and again
when a node says MOVED or does not answer. A node that is away costs its slots SQL: its calls fail at once
with NodeAway, until another node has its slots, or until the breaker says that what was recorded meanwhile
is applied (RACES 38). docs/decisions/0026 has the arguments.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from redis.exceptions import ResponseError

from stoker.errors import CacheUnavailable
from stoker.redis.cache import NONCE_KEY, Answer, CacheClient, NodeAway
from stoker.redis.connection import ServerRun
from stoker.redis.direct import DirectConnection
from stoker.redis.errors import RedisAway
from stoker.redis.opening import OneAttempt
from stoker.redis.run import field
from stoker.redis.slots import SLOTS, learn, slot_of
from stoker.settings.topology import beside, is_cluster, nodes
from stoker.settings.urls import address_of

logger = logging.getLogger(__name__)

Command = tuple[Any, ...]
FIRST_WAIT_S, LONGEST_WAIT_S, WAIT_GROWTH = 0.1, 1.0, 1.3
"""While a node is away, the slot map is learnt again after these times."""
NODE = "the cache Redis node"
NOWHERE = ServerRun(b"", 0)
"""The server of a reply that did not come."""
DOWN = ("CLUSTERDOWN", "LOADING", "MASTERDOWN")
"""How a node refuses that cannot serve any of its slots now."""


class Node:
    """A primary. `away`: why it is not used; None while it is. `answers`: whether it did when last asked."""

    def __init__(self, url: str, client: CacheClient) -> None:
        self.url = url
        self.address = address_of(url)
        self.client = client
        self.away: str | None = None
        self.answers = True


class CacheCluster(CacheClient):
    """Connections to every primary of a cluster. For one event loop."""

    is_cluster = True
    can_lend = False  # threads ask through the loop: a lent connection leads to one node

    def __init__(self, url: str, *, timeout_s: float, connections: int, nonce_key: str = NONCE_KEY) -> None:
        self._seeds = nodes(url)
        super().__init__(self._seeds[0], timeout_s=timeout_s, connections=connections, nonce_key=nonce_key)
        self._nodes: dict[str, Node] = {}
        self._owners: list[Node | None] = [None] * SLOTS
        self._learning = OneAttempt(self._learn)
        self._watching: asyncio.Task[None] | None = None
        self._known = False

    async def ask(self, packed: bytes, key: str = "", count: int = 1) -> Answer:  # noqa: ARG002 - one, here
        """As of one server; raises NodeAway if the key's node is away, or its slot is being moved."""
        slot = slot_of(key)
        node = self._owners[slot]
        if node is None or node.away is not None:
            node = await self._owner(slot)
        try:
            answer = await node.client.ask(packed)
        except CacheUnavailable as error:
            raise self._lost(node, error) from error
        reply = answer.replies[0]
        if isinstance(reply, ResponseError):
            if moved := self._moved(node, reply):
                node, answer = moved, await self._asked(moved, packed)
            self._refuse_elsewhere(node, answer.replies[0])
        return answer

    async def ask_each(self, asked: Sequence[tuple[bytes, str]]) -> Sequence[Answer | NodeAway]:
        """One packet to each node."""
        answers: list[Any] = [None] * len(asked)
        places: dict[Node, list[int]] = defaultdict(list)
        for place, (_, key) in enumerate(asked):
            node = self._owners[slot_of(key)]
            try:
                if node is None or node.away is not None:
                    node = await self._owner(slot_of(key))
                places[node].append(place)
            except NodeAway as error:
                answers[place] = error

        async def ask(node: Node, where: Sequence[int]) -> None:
            try:
                told = await self._asked(node, b"".join([asked[at][0] for at in where]), len(where))
            except NodeAway as error:
                for at in where:
                    answers[at] = error
                return
            for at, reply in zip(where, told.replies, strict=True):
                answers[at] = Answer([reply], told.server)
                if isinstance(reply, ResponseError):  # another node has it, or it is being moved
                    answers[at] = await self._asked_again(*asked[at])

        await asyncio.gather(*(ask(node, where) for node, where in places.items()))
        return answers

    async def call(self, *commands: Command) -> Answer:
        """Send each command to the node of its first key; the nodes are asked at the same time.

        A NodeAway stands for each reply that could not be had. Raises CacheUnavailable where no node is
        known.
        """
        replies: list[Any] = [None] * len(commands)
        servers = [NOWHERE] * len(commands)
        places: dict[Node | None, list[int]] = defaultdict(list)
        for place, command in enumerate(commands):
            try:
                places[await self._node_of(command)].append(place)
            except NodeAway as error:
                replies[place] = error
        await asyncio.gather(
            *(self._call(node, commands, where, replies, servers) for node, where in places.items() if node)
        )
        answering = next((server for server in servers if server is not NOWHERE), NOWHERE)
        return Answer(replies, answering, servers)

    async def lend(self) -> DirectConnection:
        """Not of a cluster."""
        raise CacheUnavailable("connections to a cluster are not lent to threads")

    async def server(self, key: str = "") -> ServerRun:
        """The node of a key."""
        node = await self._owner(slot_of(key))
        try:
            return await node.client.server()
        except CacheUnavailable as error:
            raise self._lost(node, error) from error

    async def run(self, *, asked: bool = False) -> str:
        """The runs of the nodes that answer, sorted, with commas in between; raises CacheUnavailable."""
        told = await asyncio.gather(
            *(node.client.run(asked=asked) for node in await self._answering()), return_exceptions=True
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
        answering = await self._answering()
        if len(answering) < len(self._owning()):
            raise NodeAway.each(NodeAway.of(*one) for one in self.away.items())
        return [node.client for node in answering]

    async def layout(self) -> object:
        """What each primary says of its own slots and of their epoch, from the nodes themselves."""
        with suppress(RedisAway):
            await self._learning.result()
        told = await asyncio.gather(*(one.call(("CLUSTER", "NODES")) for one in await self.primaries()))
        lines = sorted(tuple(_own_line(answer.first())) for answer in told)
        return lines if not any(part.startswith(b"[") for line in lines for part in line) else None

    async def returning(self) -> Sequence[str]:
        """The nodes that are away, have slots by the map, and answer a call."""
        away = [node for node in self._owning() if node.away is not None]
        asked = (node.client.call(("CLUSTER", "INFO")) for node in away)
        told = await asyncio.gather(*asked, return_exceptions=True)
        for node, answer in zip(away, told, strict=True):
            node.answers = _is_in_order(answer)
        return [node.address for node in away if node.answers]

    @property
    def away(self) -> Mapping[str, str]:
        """Of the nodes that have slots."""
        return {node.address: node.away for node in self._owning() if node.away is not None}

    def hold(self, node: str, reason: str) -> None:
        """Do not use a node until `use`."""
        found = self._nodes.get(node)
        if found is not None and found.away is None:
            logger.warning("cache.node_away", extra={"node": node, "reason": reason})
            found.away = reason
            self._learn_soon()

    def use(self, node: str) -> None:
        """Use a node again."""
        found = self._nodes.get(node)
        if found is not None and found.away is not None:
            logger.warning("cache.node_back", extra={"node": node, "reason": found.away})
            found.away = None

    def doubt(self) -> None:
        """Every connection must confirm its primary, and its epoch, before it is used again."""
        for node in self._nodes.values():
            node.client.doubt()

    async def close(self) -> None:
        """Close every connection."""
        self._closed = True
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        await self._learning.cancel()
        await asyncio.gather(*(node.client.close() for node in self._nodes.values()))

    def standing(self) -> Sequence[tuple[str, int, str | None]]:
        """Each primary that has slots by the map that was learnt last."""
        slots = Counter(owner for owner in self._owners if owner is not None)
        return [(node.address, count, node.away) for node, count in slots.items()]

    def clients(self) -> Mapping[str, CacheClient]:
        """Of each primary that has slots, also of one that is not used now."""
        return {node.address: node.client for node in self._owning()}

    # Which node.

    async def _owner(self, slot: int, *, to_unlink: bool = False) -> Node:
        """The node of a slot. An invalidation goes to one that answers, before readers do again."""
        if not self._known:
            try:
                await self._learning.result()
            except RedisAway as error:
                raise CacheUnavailable(str(error)) from error
        node = self._owners[slot]
        if node is None:
            self._learn_soon()
            raise NodeAway(f"no node of the cache Redis serves slot {slot}")
        if node.away is not None and not (to_unlink and node.answers):
            raise NodeAway.of(node.address, node.away)
        return node

    async def _node_of(self, command: Command) -> Node:
        key = command[3] if command[0] in {"EVALSHA", "EVAL"} else command[1] if len(command) > 1 else None
        if key is not None:
            return await self._owner(slot_of(key), to_unlink=command[0] == "UNLINK")
        return (await self._answering())[0]

    async def _answering(self) -> Sequence[Node]:
        """The primaries that answer, also those that readers do not use yet; raises CacheUnavailable."""
        if not self._known:
            try:
                await self._learning.result()
            except RedisAway as error:
                raise CacheUnavailable(str(error)) from error
        found = [node for node in self._owning() if node.away is None or node.answers]
        if not found:
            raise NodeAway("every node of the cache Redis is away")
        return found

    def _owning(self) -> Sequence[Node]:
        return list(dict.fromkeys(owner for owner in self._owners if owner is not None))

    # Calls to one node.

    async def _asked_again(self, packed: bytes, key: str) -> Answer | NodeAway:
        try:
            return await self.ask(packed, key)
        except NodeAway as error:
            return error

    async def _asked(self, node: Node, packed: bytes, count: int = 1) -> Answer:
        try:
            return await node.client.ask(packed, "", count)
        except CacheUnavailable as error:
            raise self._lost(node, error) from error

    async def _call(
        self,
        node: Node,
        commands: Sequence[Command],
        places: Sequence[int],
        replies: list[Any],
        servers: list[ServerRun],
    ) -> None:
        try:
            answer = await node.client.call(*(commands[place] for place in places))
        except CacheUnavailable as error:
            lost = self._lost(node, error)
            for place in places:
                replies[place] = lost
            return
        for place, reply in zip(places, answer.replies, strict=True):
            replies[place], servers[place] = reply, answer.server
            if isinstance(reply, ResponseError):
                replies[place], servers[place] = await self._redirected(node, commands[place], reply)

    async def _redirected(self, node: Node, command: Command, error: ResponseError) -> tuple[Any, ServerRun]:
        """The reply of the node that this one has named, if it has named one."""
        try:
            asking = (
                _named(node, error) if str(error).startswith("ASK ") and command[0] != "EVALSHA" else None
            )
            to, sent = self._moved(node, error), [command]
            if asking is not None:  # one key: nothing else of its slot is asked for
                to, sent = self._node_at(asking), [("ASKING",), command]
            if to is None:
                self._refuse_elsewhere(node, error)
                return error, NOWHERE
            answer = await to.client.call(*sent)
            reply = answer.replies[-1]
            self._refuse_elsewhere(to, reply)
        except NodeAway as away:
            return away, NOWHERE
        except CacheUnavailable as away:
            return self._lost(to or node, away), NOWHERE
        return reply, answer.server

    def _moved(self, node: Node, error: ResponseError) -> Node | None:
        """The node that has the slot by a MOVED reply, which the map has from now on."""
        text = str(error)
        if not text.startswith("MOVED "):
            return None
        to = self._node_at(_named(node, error))
        if to.away is not None:
            raise NodeAway.of(to.address, to.away)
        to.client.doubt()  # its epoch is another one since it has the slot
        self._owners[int(text.split()[1])] = to
        self._learn_soon()
        return to

    def _refuse_elsewhere(self, node: Node, reply: object) -> None:
        """Raise NodeAway for a reply which says that the slot cannot be asked for here and now."""
        if not isinstance(reply, ResponseError):
            return
        text = str(reply)
        if text.startswith(DOWN):
            raise self._lost(node, reply)
        if text.startswith(("MOVED ", "ASK ", "TRYAGAIN")):
            # What has arrived of a slot that is being moved is not valid there: no redirected read is a hit.
            self._learn_soon()
            raise NodeAway.of(node.address, "a slot of it is being moved")

    def _lost(self, node: Node, error: Exception) -> NodeAway:
        node.answers = False
        self.hold(node.address, str(error))
        return NodeAway.of(node.address, error)

    # The map.

    def _learn_soon(self) -> None:
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        """Learn the map, again and again while a node that has slots is away."""
        wait_s = FIRST_WAIT_S
        while not self._closed:
            with suppress(RedisAway):
                await self._learning.result()
            if self._known and not self.away and None not in self._owners:
                return
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * WAIT_GROWTH, LONGEST_WAIT_S)

    async def _learn(self) -> None:
        known = [node.url for node in self._owning()]
        found = await learn(list(dict.fromkeys([*known, *self._seeds])), self._endpoint.name, self._timeout_s)
        owners = [self._node(url) if url else None for url in found.urls]
        if owners != self._owners:
            self.doubt()  # a node that got slots has another epoch
        self._owners, self._known = owners, True
        for node in [node for node in self._nodes.values() if node not in self._owning()]:
            del self._nodes[node.address]
            await node.client.close()

    def _node_at(self, where: str) -> Node:
        host, _, port = where.rpartition(":")
        return self._node(beside(self._seeds[0], host, int(port)))

    def _node(self, url: str) -> Node:
        found = self._nodes.get(address_of(url))
        if found is None:
            client = CacheClient(
                url,
                timeout_s=self._timeout_s,
                connections=self._most,
                nonce_key=self._nonce_key,
                name=f"{NODE} {address_of(url)}",
                in_cluster=True,
            )
            found = self._nodes[address_of(url)] = Node(url, client)
        return found


def cache_client(url: str, *, timeout_s: float, connections: int, nonce_key: str) -> CacheClient:
    """The client that a URL asks for: of a cluster, or of one server."""
    kind = CacheCluster if is_cluster(url) else CacheClient
    return kind(url, timeout_s=timeout_s, connections=connections, nonce_key=nonce_key)


def _named(node: Node, error: ResponseError) -> str:
    """The address in a MOVED or an ASK reply. Without a host it is that of the node that has answered."""
    host, _, port = str(error).split()[2].rpartition(":")
    return f"{host or node.address.rpartition(':')[0]}:{port}"


def _own_line(told: bytes) -> Sequence[bytes]:
    """What a node says of itself in CLUSTER NODES: its id, its epoch, its slots, and those that are moved."""
    [own] = [line.split() for line in told.splitlines() if b"myself" in line]
    return own[0], own[6], *own[8:]


def _is_in_order(answer: object) -> bool:
    told = answer.replies[0] if isinstance(answer, Answer) else None
    return isinstance(told, bytes) and field(told, b"cluster_state") == b"ok"
