"""Opening connections: one attempt for all who wait, and what each of them is told when it is given up."""

from __future__ import annotations

import asyncio

import pytest

from stoker.redis.errors import RedisAway
from stoker.redis.opening import OneAttempt


async def test_those_who_wait_for_an_attempt_that_is_given_up_are_not_cancelled() -> None:
    """A node that leaves a cluster is closed while jobs and requests wait for a connection to it."""
    opening = OneAttempt(asyncio.Event().wait)
    waiting = [asyncio.create_task(opening.result()) for _ in range(2)]
    await asyncio.sleep(0)
    await opening.cancel()
    for one in waiting:
        with pytest.raises(RedisAway, match="closed while a call waited"):
            await one


async def test_a_caller_that_is_cancelled_does_not_end_the_attempt_of_others() -> None:
    opened = asyncio.Event()
    opening = OneAttempt(opened.wait)
    gone, stays = (asyncio.create_task(opening.result()) for _ in range(2))
    await asyncio.sleep(0)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    opened.set()
    assert await stays
