"""Closes resources in bounded time: one that does not close in time is left, and the next one is closed.

A server that says nothing must not keep a process from stopping. Only a cancellation is raised.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable

logger = logging.getLogger(__name__)


async def close_within(limit_s: float, what: str, closing: Awaitable[object]) -> None:
    """Wait for `closing`, for no longer than `limit_s`."""
    try:
        async with asyncio.timeout(limit_s):
            await closing
    except TimeoutError:
        logger.warning("close.took_too_long", extra={"part": what, "limit_s": limit_s})
