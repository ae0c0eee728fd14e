"""Which node of a cluster has which slots: asked of several nodes, and the best informed one is believed.

A node that was cut off from the majority tells an old map. So a map counts by whether its node says that the
cluster is in order, then by the newest epoch that the node has heard of. Raises RedisAway where no node
answers.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import ResponseError

from stoker.redis.errors import RedisAway
from stoker.redis.opening import Endpoint
from stoker.redis.primary import SINGLE
from stoker.redis.run import field
from stoker.settings.topology import beside
from stoker.settings.urls import address_of

SLOTS = REDIS_CLUSTER_HASH_SLOTS
ASKED = 5
"""Nodes that are asked for the map at once."""
KEYS_KEPT = 20_000
"""Keys whose slots are remembered."""


class SlotMap(NamedTuple):
    """The URL of the primary of each slot; empty for a slot that nobody serves."""

    in_order: bool
    epoch: int
    urls: Sequence[str]

    @property
    def uncovered(self) -> int:
        """How many slots nobody serves."""
        return sum(not url for url in self.urls)


@lru_cache(maxsize=KEYS_KEPT)
def slot_of(key: str) -> int:
    """The slot of a key: that of its hash tag."""
    return key_slot(key.encode())


async def learn(urls: Sequence[str], name: str, limit_s: float) -> SlotMap:
    """The map that the best informed of a few of these nodes tells; raises RedisAway."""
    asked = list(urls) if len(urls) <= ASKED else random.sample(urls, ASKED)
    told = await asyncio.gather(*(_told_by(url, name, limit_s) for url in asked), return_exceptions=True)
    maps = [one for one in told if isinstance(one, SlotMap)]
    if maps:
        return max(maps, key=lambda one: (one.in_order, one.epoch, -one.uncovered))
    for error in told:
        if isinstance(error, BaseException) and not isinstance(error, RedisAway):
            raise error
    raise RedisAway(str(told[0]) if told else f"{name} has no node")


async def _told_by(url: str, name: str, limit_s: float) -> SlotMap:
    async with Endpoint(url, f"{name} at {address_of(url)}", limit_s, in_cluster=True).opened() as connection:
        try:
            await connection.send_command("CLUSTER", "INFO")
            info = await connection.read_response()
            await connection.send_command("CLUSTER", "SLOTS")
            ranges = await connection.read_response()
        except ResponseError as error:
            if "cluster support disabled" in str(error):
                raise RedisAway(f"{name} at {address_of(url)} {SINGLE}") from error
            raise
        await connection.disconnect(nowait=True)
    found = [""] * SLOTS
    for first, last, primary, *_ in ranges:
        found[first : last + 1] = [_url(url, primary)] * (last + 1 - first)
    in_order = field(info, b"cluster_state") == b"ok"
    return SlotMap(in_order, int(field(info, b"cluster_current_epoch") or 0), found)


def _url(asked: str, primary: Sequence[Any]) -> str:
    """A node's URL. Without a host (its endpoint is unknown) it is the one that was asked."""
    host = (primary[0] or b"").decode()
    return beside(asked, host if host not in {"", "?"} else urlsplit(asked).hostname or "", int(primary[1]))
