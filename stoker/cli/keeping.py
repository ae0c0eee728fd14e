"""`stoker up` starts a server of its own again that has ended, and says so."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from stoker.cli.display import note

if TYPE_CHECKING:
    from stoker.embedded.servers import Embedded

LOOK_S = 1.0
LONGEST_S = 30.0  # between two starts of a server that ends again and again


@contextmanager
def keeping(servers: Embedded | None) -> Iterator[None]:
    """Look after the servers as long as this lasts; None: they are not this process's own."""
    task = asyncio.ensure_future(_keep(servers)) if servers else None
    try:
        yield
    finally:
        if task:
            task.cancel()


async def _keep(servers: Embedded) -> None:
    wait_s = LOOK_S
    while True:
        await asyncio.sleep(wait_s)
        ended = servers.ended()
        for server in ended:
            note(f"{server.name} has ended ({server.end}): starting it again; its log: {server.log}")
            await asyncio.to_thread(server.launch)
        wait_s = min(2 * wait_s, LONGEST_S) if ended else LOOK_S
