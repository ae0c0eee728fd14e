"""What leads to the wrong kind of server is said in a sentence, by `stoker check` and by the first read."""

from __future__ import annotations

from typing import Any

import pytest

from stoker import CacheUnavailable
from stoker.embedded.cluster import Cluster
from stoker.errors import QueueUnavailable
from stoker.queue.enqueue import Queue
from stoker.redis.cluster import cache_client
from stoker.settings import QueueSettings
from stoker.worker.check_redis import _versions, redis_findings
from tests.support.place import Place


async def refusal(url: str) -> str:
    """What a client's first call says."""
    client = cache_client(url, timeout_s=10, connections=1, nonce_key="run")
    try:
        with pytest.raises(CacheUnavailable) as refused:
            (await client.call(("PING",))).first()
        return str(refused.value)
    finally:
        await client.close()


async def found(place: Place, role: str = "cache", **urls: str) -> list[str]:
    """What `stoker check` says of a role's servers."""
    settings = place.settings().model_copy(update={name: _Secret(url) for name, url in urls.items()})
    return [f"{one.level}: {one.message}" for one in await redis_findings(settings, role)]


class _Secret:
    def __init__(self, url: str) -> None:
        self._url = url

    def get_secret_value(self) -> str:
        return self._url


async def test_a_whole_cluster_is_in_order(place: Place, whole_cluster: Cluster) -> None:
    assert await found(place, cache_redis_url=whole_cluster.url) == []


async def test_a_url_of_a_cluster_that_leads_to_a_single_server(place: Place, single: str) -> None:
    url = f"{single}/?cluster=true"
    said = "is a single server, and no cluster: leave ?cluster=true out of its URL"
    assert said in await refusal(url)
    [finding] = await found(place, cache_redis_url=url)
    assert finding.startswith("error")
    assert said in finding


async def test_a_url_of_a_single_server_that_leads_to_a_cluster(place: Place, whole_cluster: Cluster) -> None:
    url = whole_cluster.nodes[0].url
    said = "is a node of a cluster: add ?cluster=true to its URL"
    assert said in await refusal(url)
    [finding] = await found(place, cache_redis_url=url)
    assert finding.startswith("error")
    assert said in finding


async def test_a_queue_on_a_node_of_a_cluster(place: Place, whole_cluster: Cluster) -> None:
    told = await found(place, "queue", redis_url=whole_cluster.nodes[0].url)
    said = "the queue Redis is a node of a cluster: name a single server"
    assert any(said in one for one in told)
    queue = Queue.from_url(whole_cluster.nodes[0].url, QueueSettings(prefix=place.prefix))
    with pytest.raises(QueueUnavailable, match=said):
        await queue.ring()
    await queue.close()


async def test_a_replica_as_an_address(place: Place, replica: str) -> None:
    assert "is not a primary; name the primary" in await refusal(replica)
    assert any("is a replica: name the primary" in one for one in await found(place, cache_redis_url=replica))


async def test_a_replica_may_be_the_address_of_a_cluster(whole_cluster: Cluster) -> None:
    """It knows the map as well as its primary does."""
    client = cache_client(
        f"{whole_cluster.nodes[4].url}?cluster=true", timeout_s=10, connections=1, nonce_key="run"
    )
    assert (await client.call(("PING",))).first() == b"PONG"
    await client.close()


async def test_slots_that_nobody_serves(place: Place, own_cluster: Cluster) -> None:
    last = own_cluster.primaries[2]
    for node in own_cluster.nodes:
        node.ask("CONFIG SET cluster-require-full-coverage no")
    last.ask("CLUSTER DELSLOTSRANGE 16000 16383")
    told = await found(place, cache_redis_url=f"{last.url}?cluster=true")
    assert any("no node serves 384 of 16384 slots" in one for one in told)


async def test_a_policy_that_evicts_nothing_is_told_by_node(place: Place, own_cluster: Cluster) -> None:
    node = own_cluster.primaries[1]
    node.ask("CONFIG SET maxmemory-policy noeviction")
    [finding] = await found(place, cache_redis_url=own_cluster.url)
    assert finding.startswith(f"warning: node {node.address}: the cache Redis never evicts")


def test_nodes_of_different_versions_are_told() -> None:
    """From what nodes say: there is one version of the server here."""
    told: dict[str, Any] = {
        "a:1": {"valkey_version": "9.1.2", "redis_version": "7.2.4"},
        "b:1": {"redis_version": "7.2.4"},
        "c:1": OSError("away"),
    }
    [finding] = _versions(told)
    assert "7.2.4 on b:1; 9.1.2 on a:1; finish the upgrade" in finding.message


@pytest.fixture
async def single(pair: list[Any]) -> str:
    """A single server, by host and port."""
    return f"redis://127.0.0.1:{pair[0].port}"


@pytest.fixture
async def replica(pair: list[Any]) -> str:
    """Its replica."""
    return f"redis://127.0.0.1:{pair[1].port}"
