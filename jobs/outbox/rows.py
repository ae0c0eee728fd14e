"""The outbox's rows as the relay handles them: claim, settle, postpone; and as operators count them.

Rows are claimed, never read past by a cursor (RACES 9). Nothing here touches Redis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Interval, Text, bindparam, func, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from jobs.cache.breaker import Unsettled
from jobs.connections import looking
from jobs.settings import ChangesSettings
from jobs.tables import cache_events

ERROR_CHARACTERS = 2000
UNREADABLE = "scopes cannot be read"
"""How the error of a row begins of which nothing was applied."""


@dataclass(frozen=True, slots=True)
class Row:
    """A claimed event; `payload` and `scopes` are JSON."""

    id: int
    kind: str
    payload: str
    scopes: str
    attempts: int
    trace: str | None = None
    """Traceparent of the transaction that recorded it."""


_UNSETTLED = text("""
    SELECT now, least(oldest, now - (newest - now))
    FROM clock_timestamp() AS now, (
        SELECT min(recorded_at) AS oldest, max(recorded_at) AS newest FROM cache_events
        WHERE settled_at IS NULL AND (attempts = 0 OR starts_with(error, :unreadable))
    ) AS waiting
""")
_DUE = or_(
    # Only a row that was postponed waits, and if the clock went back, for no longer than that (RACES 17).
    cache_events.c.attempts == 0,
    cache_events.c.due_at <= func.clock_timestamp(),
    cache_events.c.due_at > func.clock_timestamp() + bindparam("longest_backoff", type_=Interval),
)
_CLAIM = (
    select(
        cache_events.c.id,
        cache_events.c.kind,
        # As text: many events of a burst say the same, which is then read once.
        cache_events.c.payload.cast(Text),
        cache_events.c.scopes.cast(Text),
        cache_events.c.attempts,
        cache_events.c.trace,
        # A relay that freezes after its claim loses it (RACES 35); set here to save a round trip.
        func.set_config("idle_in_transaction_session_timeout", bindparam("idle_ms"), True),
    )
    .where(cache_events.c.settled_at.is_(None), _DUE)
    .order_by(cache_events.c.recorded_at)
    .limit(bindparam("batch"))
    .with_for_update(skip_locked=True)
)


async def claim(connection: AsyncConnection, settings: ChangesSettings) -> Sequence[Row]:
    """Lock unsettled rows that are due; rows that another relay holds are passed over (RACES 28)."""
    found = await connection.execute(
        _CLAIM,
        {
            "idle_ms": str(round(settings.idle_in_transaction_s * 1000)),
            "batch": settings.batch,
            "longest_backoff": timedelta(seconds=settings.longest_backoff_s),
        },
    )
    return [Row(*columns[:6]) for columns in found]


async def settle(connection: AsyncConnection, ids: Sequence[int]) -> list[float]:
    """Mark rows as applied; the cache has acknowledged every one of their stamps.

    Returns how many seconds each was on its way, by the clock of Postgres.
    """
    found = await connection.scalars(
        text(
            "UPDATE cache_events SET settled_at = clock_timestamp(), error = NULL WHERE id = ANY(:ids)"
            " RETURNING extract(epoch FROM settled_at - recorded_at)::float8"
        ),
        {"ids": list(ids)},
    )
    return list(found)


async def postpone(
    connection: AsyncConnection, failed: dict[int, tuple[int, str]], settings: ChangesSettings
) -> None:
    """Back off rows that failed alone: id -> (attempts so far, error). The others proceed (RACES 36)."""
    for row_id, (attempts, error) in failed.items():
        backoff_s = min(settings.first_backoff_s * 2 ** min(attempts, 30), settings.longest_backoff_s)
        await connection.execute(
            update(cache_events)
            .where(cache_events.c.id == row_id)
            .values(
                attempts=attempts + 1,
                error=_storable(error)[:ERROR_CHARACTERS],
                due_at=func.clock_timestamp() + timedelta(seconds=backoff_s),
            )
        )


def _storable(text: str) -> str:
    """What Postgres takes: a text that it refused would fail the whole batch, again and again (RACES 36)."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


async def unsettled(engine: AsyncEngine) -> Unsettled:
    """The outbox's clock and its oldest unsettled event.

    Not one whose rule failed alone: what it carries is applied, its rule alarms, and one poisonous event must
    not take the cache from everybody (RACES 36). One recorded before the clock went back lies in the future:
    it counts as that much in the past (RACES 17).
    """
    async with looking(engine) as connection:
        found = await connection.execute(_UNSETTLED, {"unreadable": UNREADABLE})
        now, oldest = found.one()
        return Unsettled(now, oldest)


@dataclass(frozen=True, slots=True)
class Backlog:
    """What operators ask of the outbox: unsettled events, those among them that failed, the oldest's age.

    The age is a distance: an event recorded before the clock went back lies in the future.
    """

    unsettled: int
    failing: int
    oldest_age_s: float
    applied_last_minute: int


async def backlog(engine: AsyncEngine) -> Backlog:
    """Count unsettled events; bounded by the partial index, not by the table."""
    async with looking(engine) as connection:
        found = await connection.execute(
            text(
                "SELECT count(*), count(*) FILTER (WHERE attempts > 0),"
                " coalesce(max(abs(extract(epoch FROM clock_timestamp() - recorded_at))), 0),"
                " (SELECT count(*) FROM cache_events"
                "  WHERE settled_at > clock_timestamp() - interval '1 minute')"
                " FROM cache_events WHERE settled_at IS NULL"
            )
        )
        count, failing, age_s, recent = found.one()
        return Backlog(count, failing, float(age_s), recent)
