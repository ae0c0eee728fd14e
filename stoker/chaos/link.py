"""The driver's connections to one web app, which may be killed, frozen or away at any time."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from pathlib import Path
from typing import Any

from stoker.chaos.webapp import LONGEST_LINE

PATIENCE_S = 15.0
"""Longer than a loader may take; a frozen web app is given up sooner or later."""


class NoAnswer(Exception):
    """The web app is away, or was while it answered."""


class Link:
    """As many connections as there are requests at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: deque[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = deque()

    async def ask(self, do: str, **arguments: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        """Ask for one thing; raises NoAnswer."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await self._exchange(json.dumps({"do": do, **arguments}).encode() + b"\n")
        except (OSError, EOFError, ValueError) as error:
            raise NoAnswer(f"{do}: {type(error).__name__}") from error

    def close(self) -> None:
        """Close idle connections."""
        while self._idle:
            self._idle.pop()[1].close()

    async def _exchange(self, line: bytes) -> dict[str, Any]:
        reader, writer = await self._connection()
        try:
            writer.write(line)
            answer = await reader.readline()
            found: dict[str, Any] = json.loads(answer)  # half an answer, or none: killed meanwhile
        except BaseException:
            writer.close()  # an answer may still be on its way: nobody may take it for theirs
            raise
        self._idle.append((reader, writer))
        return found

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof() and not writer.is_closing():
                return reader, writer
            writer.close()
        return await asyncio.open_unix_connection(str(self._path), limit=LONGEST_LINE)
