"""A loop goes on, whatever its steps raise."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from stoker.loop import repeat


async def test_what_goes_on_failing_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    outcomes = [KeyError("a"), KeyError("b"), ValueError("c"), None, ValueError("d")]
    done = asyncio.Event()

    async def step() -> None:
        if not outcomes:
            done.set()
            return
        outcome = outcomes.pop(0)
        if outcome is not None:
            raise outcome

    loop = asyncio.create_task(repeat("a test", step, lambda: 0))
    async with asyncio.timeout(10):
        await done.wait()
    loop.cancel()
    with suppress(asyncio.CancelledError):
        await loop
    said = [str(record.exc_info[1]) for record in caplog.records if record.exc_info]
    assert said == ["'a'", "c", "d"]
