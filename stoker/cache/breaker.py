"""Whether the cache may be asked at all.

While it is open, reads go to SQL and do not touch Redis. It opens when a call fails, when the oldest
unsettled event is too old (without a worker, pages would stay stale), and when changes are applied to another
cache than this process reads. It closes when SQL shows that no unsettled event is older than the moment at
which Redis answered again (RACES 38).
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from stoker.errors import CacheUnavailable, DatabaseUnavailable
from stoker.loop import repeat
from stoker.redis.cache import CacheClient
from stoker.settings import CacheSettings

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Unsettled:
    """The state of the outbox in SQL: the time there, and the oldest event that is not settled."""

    now: datetime
    oldest: datetime | None
    waiting: Mapping[str, datetime] = field(default_factory=dict)
    """The oldest event that waits for a node of a cluster which was away, by host and port."""

    @property
    def oldest_age_s(self) -> float:
        """Seconds since the oldest unsettled event was recorded; 0 without one."""
        return max(0.0, (self.now - self.oldest).total_seconds()) if self.oldest else 0.0

    def is_applied(self, since: datetime, node: str) -> bool:
        """Whether all that was recorded before then, and concerns the node, is applied."""
        return all(one is None or one >= since for one in (self.oldest, self.waiting.get(node)))


async def _same_cache() -> str | None:
    return None


class Breaker:
    """Decides for one process. `run` is its supervised loop; `trip` may be called from any read."""

    open = False
    """Whether reads must bypass the cache: a plain attribute, because it is on the path of every hit."""

    def __init__(
        self,
        client: CacheClient,
        unsettled: Callable[[], Awaitable[Unsettled]],
        settings: CacheSettings,
        diverged: Callable[[], Awaitable[str | None]] = _same_cache,
        opened: Callable[[], None] = lambda: None,
    ) -> None:
        """`diverged` tells why changes do not reach this process's cache, if they do not.

        `opened` is called whenever the breaker opens: what was found valid before counts no more (RACES 47).
        """
        self._client = client
        self._diverged = diverged
        self._opened = opened
        self._unsettled = unsettled
        self._settings = settings
        self._answered_at: datetime | None = None
        self._nodes_answered_at: dict[str, datetime] = {}
        self.reason: str | None = None

    def trip(self, reason: str) -> None:
        """Open."""
        if self.reason is None:
            logger.warning("cache.breaker_opened", extra={"reason": reason})
        self.open, self.reason = True, reason
        self._opened()
        self._answered_at = None

    async def run(self) -> None:
        """Watch until cancelled."""
        settings = self._settings
        await repeat(
            "breaker",
            self.check,
            lambda: settings.breaker_retry_s if self.open or self._client.away else settings.watch_s,
        )

    async def compare(self) -> bool:
        """Open if changes do not reach this process's cache; raises CacheUnavailable, DatabaseUnavailable."""
        diverged = await self._diverged()
        if diverged is None:
            return False
        if self.reason != diverged:
            logger.error("cache.diverged", extra={"reason": diverged})
        self.trip(diverged)
        return True

    async def check(self) -> None:
        """Check once: open for old events; close when Redis answers and SQL has no older unsettled event."""
        try:
            if self.open:
                (await self._client.call(("PING",))).first()
            returning = await self._client.returning()
            if await self.compare():
                return
            state = await self._unsettled()
        except CacheUnavailable as error:
            self.trip(str(error))
            return
        except DatabaseUnavailable:
            return  # no change can commit either, so the state stays as it is
        self._judge_nodes(returning, state)
        if state.oldest_age_s > self._settings.breaker_unsettled_s:
            self.trip(f"an event has not been applied for {state.oldest_age_s:.0f} s: is a worker running?")
        elif self.open:
            self._close_when_settled(state)

    def _judge_nodes(self, returning: Sequence[str], state: Unsettled) -> None:
        """Use nodes of a cluster again as the whole would be; hold those that changes do not reach."""
        answered = self._nodes_answered_at
        self._nodes_answered_at = {node: min(answered.get(node, state.now), state.now) for node in returning}
        for node, since in self._nodes_answered_at.items():
            if state.is_applied(since, node):
                self._client.use(node)
        for node, oldest in state.waiting.items():
            age_s = (state.now - oldest).total_seconds()
            if age_s > self._settings.breaker_unsettled_s:
                self._client.hold(node, f"an event waits for it since {age_s:.0f} s")
                self._opened()

    def _close_when_settled(self, state: Unsettled) -> None:
        if self._answered_at is None or state.now < self._answered_at:  # or the clock went back
            self._answered_at = state.now
        if state.oldest is None or state.oldest >= self._answered_at:
            logger.warning("cache.breaker_closed", extra={"was": self.reason})
            self.open, self.reason = False, None
            self._answered_at = None
