"""docs/operations/redis/cache.acl on a cluster: nothing that the cache does there needs another right."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from redis.asyncio import Redis

from stoker import State
from stoker.embedded.cluster import Cluster, Node
from tests.races.world import Urls
from tests.support.clusters import ClusterWorld, Move, world_on
from tests.support.notes import EVERY_SCOPE_CHANGED
from tests.support.operations import OPERATIONS

PASSWORD = "a-password-of-the-test"  # noqa: S105 - of this file only


@pytest.fixture
async def guarded(own_cluster: Cluster, urls: Urls) -> AsyncIterator[ClusterWorld]:
    """A world whose processes have the rights of the file on every node."""
    rights = (OPERATIONS / "redis" / "cache.acl").read_text().replace("@PASSWORD@", PASSWORD)
    [user] = [line for line in rights.splitlines() if line.startswith("user stoker ")]
    for node in own_cluster.nodes:
        said = await asyncio.to_thread(node.ask, f"ACL SETUSER {user.removeprefix('user ')}")
        assert "+OK" in said, said
    cache = own_cluster.url.replace(f":{own_cluster.password}@", f"stoker:{PASSWORD}@")
    async with world_on(own_cluster, replace(urls, cache=cache), "stoker") as world:
        yield world


async def refusals(node: Node) -> list[str]:
    """What Stoker's user was refused."""
    async with Redis.from_url(node.url, decode_responses=True) as redis:
        entries: Any = await redis.acl_log()
    return [f"{entry['reason']} {entry['object']}" for entry in entries]


async def test_reads_changes_moved_slots_and_every_scope_need_no_other_rights(guarded: ClusterWorld) -> None:
    await guarded.warmed()
    source = guarded.owner()
    move = Move(guarded, source, next(one for one in guarded.cluster.primaries if one is not source))
    await move.begin()
    await move.move_keys()
    await guarded.change("v2")  # with ASKING: of @connection in Valkey, a right of its own in Redis 6
    assert await guarded.first.body() == "v2"
    await move.end()
    await guarded.settled_map(move.target)
    await guarded.warmed()
    await guarded.sql(EVERY_SCOPE_CHANGED)
    assert await guarded.first.apply() == 1
    assert (await guarded.first.read()).state is State.MISS
    assert [await refusals(node) for node in guarded.cluster.nodes] == [[]] * 6
