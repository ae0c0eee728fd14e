"""Who does not answer is left behind."""

from __future__ import annotations

import asyncio

from stoker.operations.health import examine


async def answers() -> None:
    """At once."""


async def refuses() -> None:
    raise ConnectionRefusedError("nobody listens")


async def test_a_server_that_never_answers_is_named_and_not_waited_for() -> None:
    asked = {"database": answers, "queue": refuses, "cache": asyncio.Event().wait}
    found = await examine(asked, timeout_s=0.05)
    assert not found.ok
    assert {name: server.error for name, server in found.servers.items()} == {
        "database": None,
        "queue": "ConnectionRefusedError: nobody listens",
        "cache": "no answer within 0.05 s",
    }
