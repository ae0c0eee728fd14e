"""Closing in bounded time: what does not end in time is left as it is, and the next thing is closed.

A server that says nothing must not keep a process from stopping. Nothing is raised here but a cancellation.
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
