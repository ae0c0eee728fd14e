"""Rings of one process: how many leave for how many commits, and what becomes of one that waits."""

# ruff: noqa: F811 - fixtures are imported by name

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

import stoker.queue.ring
from stoker.queue.bells import DeliveryBell, RelayBell
from stoker.queue.enqueue import Queue
from stoker.queue.packing import Request, request_id
from stoker.queue.ring import Departure, Ringer
from stoker.redis.connection import pack
from tests.support.engine_fixtures import queue  # noqa: F401

NEVER_S = 3600


async def _rung(queue: Queue) -> int:
    """Scripts that were called on the queue: nothing but rings calls any here."""
    found = await queue.redis.info("commandstats")
    return sum(found.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("eval", "evalsha"))


@pytest.fixture
async def ringer(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> Ringer[int]:
    """One that has just rung, and by itself would not again within this test."""
    monkeypatch.setattr(stoker.queue.ring, "GAP_S", NEVER_S)
    await queue.ring()  # connects, and makes the script known
    ringer = Ringer(RelayBell(queue), Departure(queue.connection))
    ringer.soon([1])
    await ringer.close()
    return ringer


async def test_commits_that_come_soon_after_a_ring_share_the_next(queue: Queue, ringer: Ringer[int]) -> None:
    before = await _rung(queue)
    for event_id in (2, 3, 4):
        ringer.soon([event_id])
    await ringer.close()
    assert await _rung(queue) == before + 1


async def test_a_ring_that_waits_leaves_when_its_process_ends(queue: Queue, ringer: Ringer[int]) -> None:
    before = await _rung(queue)
    ringer.soon([2])
    assert await _rung(queue) == before
    await ringer.close()
    assert await _rung(queue) == before + 1


class _Unknown(DeliveryBell):
    """Its call is refused; what is tried next is noted."""

    def __init__(self, queue: Queue) -> None:
        super().__init__(queue)
        self.tried: list[str] = []

    def packed(self, rows: Sequence[Request]) -> bytes:
        return pack([("EVALSHA", "0" * 40, "0")])

    async def ring(self, rows: Sequence[Request]) -> None:
        self.tried += [one.job_id for one in rows]


async def test_a_ring_and_a_delivery_leave_in_one_packet_and_fail_apart(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    await queue.ring()
    before = await _rung(queue)
    sent: list[int] = []
    post = queue.connection.post

    def counted(packed: bytes, calls: int) -> asyncio.Future[list[Any]] | None:
        sent.append(calls)
        return post(packed, calls)

    monkeypatch.setattr(queue.connection, "post", counted)
    bell = _Unknown(queue)
    departure = Departure(queue.connection)
    ringer, deliverer = Ringer(RelayBell(queue), departure), Ringer(bell, departure)
    ringer.soon([1])
    deliverer.soon([Request(request_id(), "tiny", b"", "", None, None)])
    await ringer.close()
    await deliverer.close()
    assert sent == [2]
    assert len(bell.tried) == 1, "only what was refused is tried again"
    assert await _rung(queue) == before + 2
