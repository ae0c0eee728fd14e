"""Each fault of the network is felt by a client behind the link while it lasts, and heals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from stoker.chaos.faults import KINDS, network
from stoker.chaos.faults.kind import Strike
from stoker.chaos.link import Link
from stoker.chaos.slots import Life, Slot

QUICKLY_S, LASTS_S = 0.2, 5.0
OF_THE_QUEUE = {kind.name: kind for kind in network.kinds() if kind.target == "queue"}


@pytest.fixture
async def link(queue_url: str) -> AsyncIterator[Link]:
    link = await Link(queue_url).start()
    yield link
    await link.close()


@pytest.fixture
async def client(link: Link) -> AsyncIterator[Redis]:
    async with Redis.from_url(link.url, socket_timeout=QUICKLY_S, retry=Retry(NoBackoff(), 0)) as client:
        await client.get("a key")
        yield client


async def struck(link: Link, name: str) -> asyncio.Task[None]:
    """A fault that has begun; cancelling it heals it."""
    scene: Any = SimpleNamespace(links={"worker-1": {"queue": link}}, rng=Random(1))

    async def strike() -> None:
        await OF_THE_QUEUE[name].strike(scene, None, LASTS_S)

    fault = asyncio.create_task(strike())
    await asyncio.sleep(0)
    return fault


async def run(strike: Strike, scene: Any, slot: Slot) -> None:  # noqa: ANN401 - what it uses of one
    await strike(scene, slot, LASTS_S)


async def heal(fault: asyncio.Task[None]) -> None:
    fault.cancel()
    await asyncio.gather(fault, return_exceptions=True)


async def fails(client: Redis) -> bool:
    try:
        await client.get("a key")
    except RedisError:
        return True
    return False


def test_each_server_has_each_of_the_faults() -> None:
    wanted = {f"{one}_{what}" for one in network.SERVERS for what in ("silence", "half_open", "torn", "slow")}
    assert wanted <= {kind.name for kind in KINDS}


async def test_a_partition_silences_one_process_and_not_another(
    link: Link, client: Redis, queue_url: str
) -> None:
    other, slot = await Link(queue_url).start(), Slot("webapp-1", (), {}, Path())
    slot.lives.append(Life(1, 0, ready=0))
    links = {"webapp-1": dict.fromkeys(network.SERVERS, link), "webapp-2": {"queue": other}}
    scene: Any = SimpleNamespace(links=links, rng=Random(1))
    fault = asyncio.create_task(run(network.partition, scene, slot))
    await asyncio.sleep(0)
    assert await fails(client)
    async with Redis.from_url(other.url, socket_timeout=QUICKLY_S) as beside:
        assert not await fails(beside)
    await heal(fault)
    assert not await fails(client)
    [(began, ended)] = slot.lives[0].freezes
    assert not slot.lives[0].works((began + ended) / 2), "it cannot renew its claims"
    await other.close()


async def test_a_silent_link_answers_nobody_until_it_is_healed(link: Link, client: Redis) -> None:
    fault = await struck(link, "queue_silence")
    assert await fails(client), "the connection that there was"
    assert await fails(client), "a new one"
    await heal(fault)
    assert not await fails(client)


async def test_a_half_open_connection_is_silent_and_a_new_one_is_not(link: Link, client: Redis) -> None:
    fault = await struck(link, "queue_half_open")
    assert await fails(client), "the connection that there was"
    assert not await fails(client), "a new one"
    await heal(fault)


async def test_a_torn_link_ends_connections_in_the_middle_of_a_message(
    link: Link, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "TORN", 1.0)
    fault = await struck(link, "queue_torn")
    assert await fails(client)
    await heal(fault)
    assert not await fails(client)


async def test_a_slow_link_delays_each_packet(link: Link, client: Redis) -> None:
    fault = await struck(link, "queue_slow")
    began, delay_s = asyncio.get_running_loop().time(), link.delay_s
    await client.get("a key")
    assert delay_s >= 0.01
    assert asyncio.get_running_loop().time() - began >= 2 * delay_s
    await heal(fault)
    assert link.delay_s == 0
