"""The bytes of a ring are those of any other call that asks for a relay."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

import stoker.queue.packing
import stoker.tracing
from stoker.queue.enqueue import Queue
from stoker.settings import QueueSettings


@given(now_ms=st.integers(0, 2 * 10**13), prefix=st.from_regex(r"[a-z]{1,20}", fullmatch=True))
def test_what_is_packed_before_is_what_would_be_packed_now(now_ms: int, prefix: str) -> None:
    queue = Queue("redis://localhost", QueueSettings(prefix=prefix), Redis())
    job_id = stoker.queue.packing.new_job_id(now_ms)
    assert queue._ringing.packed(job_id, now_ms) == queue._pack_ring(job_id, now_ms)


def test_a_ring_of_a_traced_request_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    queue = Queue("redis://localhost", QueueSettings(), Redis())
    parent = f"00-{'a' * 32}-{'b' * 16}-01"
    monkeypatch.setattr(stoker.tracing, "current", lambda: parent)
    assert parent.encode() in queue.packed_ring()
    asyncio.run(queue.close())
