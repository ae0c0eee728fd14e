"""The primaries of a cluster, and which slots each has, as this process knows it.

The map is learnt, and again when a node says MOVED or does not answer. A node that is away fails its calls
at once with NodeAway, until another node has its slots, or until the breaker says that what was recorded
meanwhile is applied (RACES 38).
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress

from redis.exceptions import ResponseError

from stoker.errors import CacheUnavailable
from stoker.redis.cache import Answer, CacheClient, NodeAway
from stoker.redis.errors import RedisAway
from stoker.redis.opening import OneAttempt
from stoker.redis.run import field
from stoker.redis.slots import SLOTS, learn
from stoker.settings.topology import beside
from stoker.settings.urls import address_of

logger = logging.getLogger(__name__)

FIRST_WAIT_S, LONGEST_WAIT_S, WAIT_GROWTH = 0.1, 1.0, 1.3
"""While a node is away, the slot map is learnt again after these times."""
NAME, NODE = "the cache Redis", "the cache Redis node"
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


class Primaries:
    """The nodes, and connections to each. `owners`: the node of each slot, always the same list."""

    def __init__(self, seeds: Sequence[str], *, timeout_s: float, connections: int, nonce_key: str) -> None:
        """`seeds`: the URLs that a cluster was given by."""
        self.owners: list[Node | None] = [None] * SLOTS
        self._known = False
        self._learning = OneAttempt(self._learn)
        self._seeds = seeds
        self._timeout_s = timeout_s
        self._connections = connections
        self._nonce_key = nonce_key
        self._nodes: dict[str, Node] = {}
        self._watching: asyncio.Task[None] | None = None
        self._closed = False

    async def owner(self, slot: int, *, to_unlink: bool = False) -> Node:
        """The node of a slot; raises NodeAway, or CacheUnavailable while there is no map.

        An invalidation goes to a node that answers, before readers do again.
        """
        await self._require()
        node = self.owners[slot]
        if node is None:
            self.learn_soon()
            raise NodeAway(f"no node of the cache Redis serves slot {slot}")
        if node.away is not None and not (to_unlink and node.answers):
            raise NodeAway.of(node.address, node.away)
        return node

    async def answering(self) -> Sequence[Node]:
        """The primaries that answer, also those that readers do not use yet; raises CacheUnavailable."""
        await self._require()
        found = [node for node in self.owning() if node.away is None or node.answers]
        if not found:
            raise NodeAway("every node of the cache Redis is away")
        return found

    def owning(self) -> Sequence[Node]:
        """The primaries that have slots."""
        return list(dict.fromkeys(owner for owner in self.owners if owner is not None))

    @property
    def away(self) -> Mapping[str, str]:
        """Of the nodes that have slots."""
        return {node.address: node.away for node in self.owning() if node.away is not None}

    def hold(self, node: str, reason: str) -> None:
        """Do not use a node until `use`."""
        found = self._nodes.get(node)
        if found is not None and found.away is None:
            logger.warning("cache.node_away", extra={"node": node, "reason": reason})
            found.away = reason
            self.learn_soon()

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

    async def returning(self) -> Sequence[str]:
        """The nodes that are away, have slots by the map, and answer a call."""
        away = [node for node in self.owning() if node.away is not None]
        asked = (node.client.call(("CLUSTER", "INFO")) for node in away)
        told = await asyncio.gather(*asked, return_exceptions=True)
        for node, answer in zip(away, told, strict=True):
            node.answers = _is_in_order(answer)
        return [node.address for node in away if node.answers]

    def standing(self) -> Sequence[tuple[str, int, str | None]]:
        """Each primary that has slots by the map that was learnt last."""
        slots = Counter(owner for owner in self.owners if owner is not None)
        return [(node.address, count, node.away) for node, count in slots.items()]

    def clients(self) -> Mapping[str, CacheClient]:
        """Of each primary that has slots, also of one that is not used now."""
        return {node.address: node.client for node in self.owning()}

    async def asked(self, node: Node, packed: bytes, count: int = 1) -> Answer:
        """Ask a node; raises NodeAway."""
        try:
            return await node.client.ask(packed, "", count)
        except CacheUnavailable as error:
            raise self.lost(node, error) from error

    def moved(self, node: Node, error: ResponseError) -> Node | None:
        """The node that has the slot by a MOVED reply, which the map has from now on."""
        text = str(error)
        if not text.startswith("MOVED "):
            return None
        to = self.node_at(named(node, error))
        if to.away is not None:
            raise NodeAway.of(to.address, to.away)
        to.client.doubt()  # its epoch is another one since it has the slot
        self.owners[int(text.split()[1])] = to
        self.learn_soon()
        return to

    def refuse_elsewhere(self, node: Node, reply: object) -> None:
        """Raise NodeAway for a reply which says that the slot cannot be asked for here and now."""
        if not isinstance(reply, ResponseError):
            return
        text = str(reply)
        if text.startswith(DOWN):
            raise self.lost(node, reply)
        if text.startswith(("MOVED ", "ASK ", "TRYAGAIN")):
            # What has arrived of a slot that is being moved is not valid there: no redirected read is a hit.
            self.learn_soon()
            raise NodeAway.of(node.address, "a slot of it is being moved")

    def lost(self, node: Node, error: Exception) -> NodeAway:
        """Stop using a node that has failed a call."""
        node.answers = False
        self.hold(node.address, str(error))
        return NodeAway.of(node.address, error)

    def node_at(self, where: str) -> Node:
        """The node at a `host:port` that another one has named."""
        host, _, port = where.rpartition(":")
        return self._node(beside(self._seeds[0], host, int(port)))

    async def learn(self) -> None:
        """Learn the map now, if a node answers."""
        with suppress(RedisAway):
            await self._learning.result()

    def learn_soon(self) -> None:
        """Learn the map in the background."""
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch())

    async def close(self) -> None:
        """Close every connection."""
        self._closed = True
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        await self._learning.cancel()
        await asyncio.gather(*(node.client.close() for node in self._nodes.values()))

    async def _require(self) -> None:
        if not self._known:
            try:
                await self._learning.result()
            except RedisAway as error:
                raise CacheUnavailable(str(error)) from error

    async def _watch(self) -> None:
        """Learn the map, again and again while a node that has slots is away."""
        wait_s = FIRST_WAIT_S
        while not self._closed:
            await self.learn()
            if self._known and not self.away and None not in self.owners:
                return
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * WAIT_GROWTH, LONGEST_WAIT_S)

    async def _learn(self) -> None:
        known = [node.url for node in self.owning()]
        found = await learn(list(dict.fromkeys([*known, *self._seeds])), NAME, self._timeout_s)
        owners = [self._node(url) if url else None for url in found.urls]
        if owners != self.owners:
            self.doubt()  # a node that got slots has another epoch
        self.owners[:], self._known = owners, True
        for node in [node for node in self._nodes.values() if node not in self.owning()]:
            del self._nodes[node.address]
            await node.client.close()

    def _node(self, url: str) -> Node:
        found = self._nodes.get(address_of(url))
        if found is None:
            client = CacheClient(
                url,
                timeout_s=self._timeout_s,
                connections=self._connections,
                nonce_key=self._nonce_key,
                name=f"{NODE} {address_of(url)}",
                in_cluster=True,
            )
            found = self._nodes[address_of(url)] = Node(url, client)
        return found


def named(node: Node, error: ResponseError) -> str:
    """The address in a MOVED or an ASK reply. Without a host it is that of the node that has answered."""
    host, _, port = str(error).split()[2].rpartition(":")
    return f"{host or node.address.rpartition(':')[0]}:{port}"


def _is_in_order(answer: object) -> bool:
    told = answer.replies[0] if isinstance(answer, Answer) else None
    return isinstance(told, bytes) and field(told, b"cluster_state") == b"ok"
