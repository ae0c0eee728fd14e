"""The overview of the API lists each primary of a cluster: its address, its latency and its state."""

from __future__ import annotations

from typing import Any

from stoker.operations.health import SLOW_MS, NodeHealth
from tests.races.world import Process
from tests.support.callers import TOKENS, VIEWER, client
from tests.support.clusters import ClusterWorld
from tests.support.freezing import frozen

PLENTY_MS = 30_000


async def nodes_told(process: Process) -> dict[str, Any]:
    """What the API tells the console, by address."""
    settings = process.stoker.settings
    api = type(settings.api).model_validate({"tokens": TOKENS, "probe_timeout_s": 5})
    async with client(process.stoker, settings.model_copy(update={"api": api}), VIEWER) as page:
        told = await page.get("/api/overview")
    assert told.status_code == 200, told.text
    return {node.pop("address"): node for node in told.json()["health"]["servers"]["cache"]["nodes"]}


async def test_each_primary_is_listed_with_its_latency_and_state(world: ClusterWorld) -> None:
    told = await nodes_told(await world.warmed())
    assert told.keys() == {node.address for node in world.cluster.primaries}
    assert sum(node["slots"] for node in told.values()) == 16_384
    for node in told.values():
        assert 0 < node["ms"] < PLENTY_MS
        assert node["state"] in ("ok", "slow")
        assert node["error"] is None


async def test_a_primary_that_does_not_answer_is_down_before_a_read_has_noticed(broken: ClusterWorld) -> None:
    reader = await broken.warmed(await broken.process(cache={"timeout_s": 0.5}))
    for node in broken.cluster.nodes:
        node.ask("CONFIG SET cluster-node-timeout 600000")
    silent = broken.owner()
    with frozen(silent):
        told = await nodes_told(reader)
    assert {address for address, node in told.items() if node["state"] == "down"} == {silent.address}
    assert told[silent.address]["ms"] is None
    assert "did not answer within 0.5 s" in told[silent.address]["error"]


def test_a_primary_that_takes_its_time_is_slow() -> None:
    states = [NodeHealth(address="a:1", slots=1, ms=ms).state for ms in (None, 1, SLOW_MS + 1)]
    assert states == ["ok", "ok", "slow"]
