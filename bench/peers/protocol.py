"""The protocol between a peer process and the driver: one JSON object on each line, in and out.

It also runs in the peers' own environment, so it imports only the standard library.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

Command = Callable[..., Awaitable[Any]]
"""Takes the fields of a request; what it returns is answered as `answer`."""


def serve(**commands: Command) -> None:
    """Answer requests until the driver closes our input. A command that raises is answered as `error`."""
    for name, command in commands.items():
        if not inspect.iscoroutinefunction(command):
            raise TypeError(f"{name} is not a coroutine function")
    asyncio.run(_serve(commands))


async def _serve(commands: dict[str, Command]) -> None:
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        request = json.loads(line)
        try:
            reply = {"answer": await commands[request.pop("do")](**request)}
        except Exception as error:  # noqa: BLE001 - the driver decides what to do
            reply = {"error": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(reply) + "\n")
        sys.stdout.flush()
