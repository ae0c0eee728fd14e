"""One cluster for the tests that leave it as it was, and one for each test that breaks it."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from stoker.embedded.cluster import Cluster
from stoker.embedded.listening import Listening, free_ports
from tests.races.conftest import guard, races_database, urls  # noqa: F401 - fixtures
from tests.races.world import Urls
from tests.support.clusters import ClusterWorld, running_cluster, world_on


@pytest.fixture(scope="session")
def whole_cluster() -> Iterator[Cluster]:
    """A cluster that nobody breaks."""
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture
def own_cluster() -> Iterator[Cluster]:
    """A cluster of the test's own."""
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture
async def world(whole_cluster: Cluster, urls: Urls, prefix: str) -> AsyncIterator[ClusterWorld]:  # noqa: F811
    """A world on the cluster that nobody breaks."""
    async with world_on(whole_cluster, replace(urls, cache=whole_cluster.url), prefix) as world:
        yield world


@pytest.fixture
async def broken(own_cluster: Cluster, urls: Urls, prefix: str) -> AsyncIterator[ClusterWorld]:  # noqa: F811
    """A world on a cluster of its own."""
    async with world_on(own_cluster, replace(urls, cache=own_cluster.url), prefix) as world:
        yield world


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[list[Listening]]:
    """A single server and its replica."""
    ports = free_ports(2)
    options = ["--save", "", "--maxmemory", "10mb", "--maxmemory-policy", "allkeys-lru"]
    servers = [
        Listening("a", tmp_path, ports[0], options),
        Listening("b", tmp_path, ports[1], options, follows=ports[0]),
    ]
    for one in servers:
        one.start()
    yield servers
    for one in servers:
        one.kill()
