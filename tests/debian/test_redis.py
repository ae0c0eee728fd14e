"""The promises that matter most, on Debian's Redis: all other tests run on the Valkey of a wheel.

`STOKER_VALKEY_SERVER=redis-server make test` runs them on it, too (CONTRIBUTING.md).
"""

from __future__ import annotations

from itertools import chain

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from stoker import Forbidden, State
from stoker.cache.reading import Miss
from stoker.jobs import Lane
from tests.races.rewinding import Rewinding
from tests.scripts import batching, claiming, ending, enqueueing, fairness, keeping, pacing  # noqa: F401 - they declare scenarios
from tests.scripts.ground import SCENARIOS, Ground
from tests.support.clusters import ClusterWorld, promoted, until
from tests.support.engine_stage import Stage, Work, running, settled

pytestmark = pytest.mark.usefixtures("debian")


async def test_a_change_counts_from_the_next_read_and_so_does_a_right(rewinding: Rewinding) -> None:
    world = rewinding.world
    assert not {"valkey_version", "server_name"} & (await world.redis.info("server")).keys()
    await world.warmed()
    await world.change("v2")
    await world.must_show("v2")
    assert (await world.first.read()).state is State.HIT
    await world.remove_member()
    with pytest.raises(Forbidden):
        await world.first.read()


async def test_what_an_earlier_run_of_the_server_kept_is_not_valid(rewinding: Rewinding) -> None:
    world = rewinding.world
    await world.warmed()
    await rewinding.remember()
    await world.change("v2")
    await rewinding.go_back()
    found = await world.peek()
    assert (found.miss, found.content and found.content.body) == (Miss.RESTARTED, b'{"body":"v1"}')
    await world.must_show("v2")


async def test_the_scripts_of_the_queue_do_what_they_say(ground: Ground) -> None:
    for scenario in dict.fromkeys(chain.from_iterable(SCENARIOS.values())):
        await ground.redis.flushall()
        await scenario(ground)


async def test_a_worker_runs_a_job(ground: Ground, stage: Stage, sql: AsyncEngine) -> None:
    async with running(ground.queue, ground.url, stage, sql):
        await ground.put(Work(name="first"))
        await stage.until(lambda: stage.ended == [("test.work.v1", "done")])
        found = await settled(ground.queue, Lane.WARM, done=1, running=0)
    assert found.ready == found.deferred == 0


async def test_a_cluster_whose_primary_is_killed_serves_what_is_right(broken: ClusterWorld) -> None:
    await broken.warmed()
    dead = broken.owner()
    dead.kill()
    replica = broken.cluster.replica_of(dead)
    await promoted(replica)
    await broken.settled_map(replica)
    await broken.change("v2")
    await broken.must_show("v2")

    async def hit() -> bool:
        return (await broken.first.read()).state is State.HIT

    await until(hit, "what the new primary keeps is not valid")
