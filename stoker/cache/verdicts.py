"""The verifier's verdicts, kept in the cache Redis: how often entries were right.

A hash for each day, kept for a little over a week. Losing it loses figures, never correctness.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from stoker.cache.keys import KeySpace
from stoker.numbers import LATEST_S, real, whole
from stoker.redis.cache import CacheClient

DAYS = 7
"""Days over which the published share is computed."""


class Verdict(StrEnum):
    """What comparing an entry with SQL showed."""

    RIGHT = "right"
    """Equal."""
    CHANGED = "changed"
    """Different, but invalidated or rebuilt by the time every change that SQL showed was applied."""
    STALE = "stale"
    """Different, valid, and every change that SQL showed was applied: a broken promise."""
    UNDECIDED = "undecided"
    """Different, while changes that may explain it wait to be applied."""


@dataclass(frozen=True, slots=True)
class Verified:
    """Verdicts of the last days. `stale_age_s`: the greatest age of an entry found stale, 0 without one."""

    counts: Counter[Verdict]
    stale_age_s: float
    last_at: datetime | None

    @property
    def checked(self) -> int:
        """Entries whose verdict is certain."""
        return self.counts[Verdict.RIGHT] + self.counts[Verdict.CHANGED] + self.counts[Verdict.STALE]

    @property
    def share(self) -> float | None:
        """The share of checked entries that were not stale; None before the first."""
        return 1 - self.counts[Verdict.STALE] / self.checked if self.checked else None

    @property
    def nines(self) -> float | None:
        """The share as nines: 3.0 is 99.9 %. Never more than the entries checked can show."""
        if not self.checked:
            return None
        return round(math.log10(self.checked / max(1, self.counts[Verdict.STALE])), 2)


async def publish(
    client: CacheClient, keys: KeySpace, counts: Counter[Verdict], stale_age: timedelta
) -> None:
    """Add verdicts to today's; raises CacheUnavailable."""
    name = keys.verdicts(_day(0))
    commands: list[tuple[str | float, ...]] = [
        ("HINCRBY", name, verdict, number) for verdict, number in counts.items() if number
    ]
    commands.append(("HSET", name, "last_at", f"{time.time():.3f}"))
    if stale_age:
        # Only the latest is kept here; the log has all of them.
        commands.append(("HSET", name, "stale_age_s", f"{stale_age.total_seconds():.3f}"))
    commands.append(("EXPIRE", name, (DAYS + 1) * 86400))
    await client.call(*commands)


async def verified(client: CacheClient, keys: KeySpace) -> Verified:
    """The verdicts of the last days; raises CacheUnavailable."""
    answer = await client.call(*(("HGETALL", keys.verdicts(_day(back))) for back in range(DAYS)))
    counts: Counter[Verdict] = Counter()
    stale_age_s, last = 0.0, 0.0
    for reply in answer.known(missing=[]):
        found = {
            name.decode(errors="replace"): value for name, value in zip(reply[::2], reply[1::2], strict=True)
        }
        counts.update({verdict: whole(found.get(verdict)) for verdict in Verdict})
        stale_age_s = max(stale_age_s, real(found.get("stale_age_s")))
        last = max(last, real(found.get("last_at"), most=LATEST_S))
    return Verified(counts, stale_age_s, datetime.fromtimestamp(last, UTC) if last else None)


def _day(back: int) -> str:
    return (datetime.now(UTC) - timedelta(days=back)).strftime("%Y%m%d")
