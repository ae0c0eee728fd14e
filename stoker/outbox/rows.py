"""The outbox's rows as the relay handles them: claim, settle, postpone; and as operators count them.

Rows are claimed, never read past by a cursor (RACES 9). Nothing here touches Redis.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.resources import files

from sqlalchemy import func, text, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from stoker.cache.breaker import Unsettled
from stoker.histogram import BOUNDS_S
from stoker.postgres import short_connection
from stoker.redis.cache import AWAY, nodes_named
from stoker.settings import ChangesSettings
from stoker.tables import cache_events

ERROR_CHARACTERS = 2000
UNREADABLE = "scopes cannot be read"
"""Begins the error of a row of which nothing was applied."""


CLAIM = text(files("stoker.outbox").joinpath("claim.sql").read_text())
NOTE_SCOPES = text("""
    UPDATE stoker.cache_events SET scopes = CAST(told.scopes AS jsonb)
      FROM unnest(CAST(:ids AS bigint[]), CAST(:scopes AS text[])) AS told(id, scopes)
     WHERE cache_events.id = told.id
""")
SETTLE = text(files("stoker.outbox").joinpath("settle.sql").read_text())


@dataclass(frozen=True, slots=True)
class Alike:
    """Claimed events with the same content; `scopes` and `payload` are JSON."""

    kind: str
    scopes: str
    payload: str
    """Empty where no rule asks for it: where none has an audience, and a trigger did not record it."""
    attempts: int
    trace: str | None
    """Traceparent of the transaction that recorded them."""
    ids: Sequence[int]


@dataclass(frozen=True, slots=True)
class Waited:
    """A number of events that were on their way for about the same time."""

    events: int
    seconds: float


_UNSETTLED = text("""
    SELECT now, least(oldest, now - (newest - now)), reasons, since
    FROM clock_timestamp() AS now, (
        SELECT min(recorded_at) AS oldest, max(recorded_at) AS newest FROM stoker.cache_events
        WHERE settled_at IS NULL AND (attempts = 0 OR starts_with(error, :unreadable))
    ) AS waiting, (
        SELECT array_agg(error) AS reasons, array_agg(oldest) AS since FROM (
            SELECT error, min(recorded_at) AS oldest FROM stoker.cache_events
            WHERE settled_at IS NULL AND attempts > 0 AND starts_with(error, :away) GROUP BY error
        ) AS by_reason
    ) AS for_nodes
""")


async def claim(
    connection: AsyncConnection, settings: ChangesSettings, asking: Collection[str]
) -> Sequence[Alike]:
    """Lock unsettled events that are due; those that another relay holds are passed over (RACES 28).

    `asking`: the kinds whose rules ask for the payload. A process that freezes after this loses its claim
    (RACES 35).
    """
    found = await connection.execute(
        CLAIM,
        {
            "asking": list(asking),
            "batch": settings.batch,
            "longest_backoff": timedelta(seconds=settings.longest_backoff_s),
            "idle_ms": str(round(settings.idle_in_transaction_s * 1000)),
        },
    )
    return [Alike(*columns) for columns in found]


async def settle(connection: AsyncConnection, ids: Sequence[int], by: str = "") -> list[Waited]:
    """Mark events as applied, `by` a process; the cache has acknowledged every one of their stamps.

    Returns how long they were on their way, by the clock of Postgres.
    """
    found = await connection.execute(SETTLE, {"ids": list(ids), "by": by, "bounds": list(BOUNDS_S)})
    return [Waited(*columns) for columns in found]


async def note_scopes(connection: AsyncConnection, told: Mapping[int, str]) -> None:
    """Store what the rules of captured events named: id -> scopes, as an application stores them."""
    if told:
        await connection.execute(NOTE_SCOPES, {"ids": list(told), "scopes": list(told.values())})


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
    """A text that Postgres accepts: one that it refuses would fail the batch again and again (RACES 36)."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


async def unsettled(engine: AsyncEngine) -> Unsettled:
    """The outbox's clock and its oldest unsettled event.

    An event that waits for a node of a cluster counts for that node. An event whose rule failed alone does
    not count: what it carries is applied, its rule raises an alarm, and one poisonous event must not take the
    cache from every reader (RACES 36). An event that was recorded before the clock went back lies in the
    future and counts as that much in the past (RACES 17).
    """
    async with short_connection(engine) as connection:
        found = await connection.execute(_UNSETTLED, {"unreadable": UNREADABLE, "away": AWAY})
        now, oldest, reasons, since = found.one()
    waiting: dict[str, datetime] = {}
    for reason, at in zip(reasons or (), since or (), strict=True):
        for node in nodes_named(reason):
            waiting[node] = min(waiting.get(node, at), at)
    return Unsettled(now, oldest, waiting)


@dataclass(frozen=True, slots=True)
class Backlog:
    """Figures for operators: unsettled events, those among them that failed, the oldest's age.

    The age is an absolute difference: an event recorded before the clock went back lies in the future.
    `term_ms`: for so long each change waits until no reader serves what was before it without asking.
    """

    unsettled: int
    failing: int
    oldest_age_s: float
    applied_last_minute: int
    term_ms: int


async def backlog(engine: AsyncEngine) -> Backlog:
    """Count unsettled events; bounded by the partial index, not by the table."""
    async with short_connection(engine) as connection:
        found = await connection.execute(
            text(
                "SELECT count(*), count(*) FILTER (WHERE attempts > 0),"
                " coalesce(max(abs(extract(epoch FROM clock_timestamp() - recorded_at))), 0),"
                " (SELECT count(*) FROM stoker.cache_events"
                "  WHERE settled_at > clock_timestamp() - interval '1 minute'),"
                " (SELECT longest_ms FROM stoker.cache_term)"
                " FROM stoker.cache_events WHERE settled_at IS NULL"
            )
        )
        count, failing, age_s, recent, term_ms = found.one()
        return Backlog(count, failing, float(age_s), recent, term_ms)
