"""Asks for refreshes of entries that a read found due for one, without making the read wait.

Best effort: without the queue the entry stays valid until it expires, and the next read asks again.
"""

from __future__ import annotations

import time

from stoker.cache.accounting import Accounting
from stoker.cache.detached import Detached
from stoker.cache.view import EntryKey
from stoker.errors import QueueUnavailable
from stoker.jobs import Refresh
from stoker.queue.enqueue import Queue

ASK_AGAIN_S = 2.0
"""A process asks for the refresh of an entry once in so many seconds."""
REMEMBERED = 10_000
"""Entries whose last request is remembered; with more of them, all are forgotten."""


class Refreshes:
    """The refreshes that one process asks for."""

    def __init__(self, queue: Queue, detached: Detached, accounting: Accounting) -> None:
        self._queue = queue
        self._detached = detached
        self._accounting = accounting
        self._asked: dict[EntryKey, float] = {}

    def ask(self, key: EntryKey) -> None:
        """Ask for the refresh of an entry, in a task of its own, unless it was asked for just now."""
        now = time.monotonic()
        if now - self._asked.get(key, -ASK_AGAIN_S) < ASK_AGAIN_S:
            return
        if len(self._asked) >= REMEMBERED:
            self._asked.clear()
        self._asked[key] = now
        self._detached.start(self._enqueue(key))

    async def _enqueue(self, key: EntryKey) -> None:
        try:
            await self._queue.enqueue(Refresh(view=key.view, scope_id=key.scope.id, params=key.params))
        except QueueUnavailable:
            self._accounting.count(key.view, "refresh_not_asked")
