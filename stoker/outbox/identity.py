"""Which cache the outbox is applied to, so that no process goes on reading another one.

A cache is identified by its key prefix and a random mark stored in it. A process that applies events first
notes both in Postgres, in a table of all caches that were noted; the breaker of a reader looks for its own
cache there. Raises CacheUnavailable or DatabaseUnavailable. docs/decisions/0011 says why it is a mark, and
what happens when a cache is left and used again.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from stoker.errors import CacheUnavailable
from stoker.postgres import database_errors, looking
from stoker.redis.cache import CacheClient

logger = logging.getLogger(__name__)

NOTE_S = 10.0
"""Seconds between two notes of a process that applies events; a cache that lost its mark is noted again by
then."""
LEFT = timedelta(seconds=60)
"""Time without a note after which nobody applies to a cache any more: longer than a batch may take."""
MARK_LIFE_S = 30 * 86400
LOCK = 0x5730CE14
"""Key of the advisory lock under which a move is noted; any number, but always this one."""
NOW = text("SELECT clock_timestamp()")
NOTED = text("SELECT root, mark, noted_at, diverged_since FROM stoker.cache_identities")
STAY, MOVE, LEAVE, RETURN, AGAIN, SETTLE_IN, FORGET = (
    text(statement)
    for statement in files("stoker.outbox").joinpath("identity.sql").read_text().split(";\n")
    if statement.strip()
)


@dataclass(frozen=True, slots=True)
class Noted:
    """A cache that events were applied to. `diverged_since`: since when some have gone to another one."""

    root: str
    mark: str
    noted_at: datetime
    diverged_since: datetime | None


class CacheIdentity:
    """The cache of one process. Processes that apply events note it; processes that read compare it."""

    def __init__(self, engine: AsyncEngine, client: CacheClient, root: str, keep: timedelta) -> None:
        self._engine = engine
        self._client = client
        self._root = root
        self._keep = keep
        self._note_at_s = 0.0
        self._unnoted: str | None = None
        self._seen: str | None = None
        self._seen_at = datetime.max.replace(tzinfo=UTC)

    async def note(self) -> None:
        """Note that events are about to be applied here. Does nothing within NOTE_S of the last note.

        While the cache is away nothing is noted; `require` then raises.
        """
        if time.monotonic() < self._note_at_s:
            return
        began_s = time.monotonic()
        try:
            await self._note()
        except CacheUnavailable as error:
            self._unnoted = str(error)
        else:
            self._unnoted = None
            self._note_at_s = began_s + NOTE_S

    def require(self) -> None:
        """Raise CacheUnavailable if the last note failed: readers would not know where events are applied."""
        if self._unnoted is not None:
            raise CacheUnavailable(self._unnoted)

    async def _note(self) -> None:
        with database_errors():
            async with self._engine.begin() as connection:
                # The time is taken before the mark is read: a process that saw another mark by then reads
                # another cache.
                at = await connection.scalar(NOW)
                here = {"root": self._root, "mark": await self._mark(), "at": at}
                if (await connection.execute(STAY, here)).first() is None:
                    await self._move(connection)

    async def diverged(self) -> str | None:
        """Why changes do not reach the cache of this process; None if they do, or if that is not known."""
        noted = await noted_by(self._engine)
        if not noted or _reaches(noted, self._root, self._seen):
            return None
        mark = await self._mark()
        if mark != self._seen:
            self._seen, self._seen_at = mark, await self._clock()
        ours = next((one for one in noted if (one.root, one.mark) == (self._root, mark)), None)
        newest = max(noted, key=lambda one: one.noted_at)
        if ours is None and newest.root == self._root:
            # It may have lost its mark in a restart or a flush; then the next note has the new one.
            another = newest.noted_at > self._seen_at
        else:
            another = ours is None or ours.diverged_since is not None
        return _told(newest, self._root) if another else None

    async def _move(self, connection: AsyncConnection) -> None:
        """Note another cache than the last noted one, or the same one while another is noted too."""
        await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
        # Read again under the lock, so that of two marks the one that was read later is noted later.
        at, mark = await connection.scalar(NOW), await self._mark()
        here = {"root": self._root, "mark": mark, "at": at}
        await connection.execute(MOVE, here)
        left = (await connection.execute(LEAVE, here)).all()
        for root, _ in left:
            logger.warning("cache.moved", extra={"left": root, "applied_to": self._root})
        since = await connection.scalar(RETURN, {**here, "left": LEFT})
        if since is not None:
            again = await connection.execute(AGAIN, {"since": since})
            await connection.execute(SETTLE_IN, here)
            logger.warning("cache.returned", extra={"applied_again": again.rowcount})
        await connection.execute(FORGET, {**here, "keep": max(self._keep, 2 * LEFT)})

    async def _mark(self) -> str:
        """The mark in the cache, made by whoever asks first. Empty where the cache takes no writes."""
        name = f"{self._root}:mark"
        found = (await self._client.call(("GET", name))).first()
        if found is None:
            made: tuple[Any, ...] = ("SET", name, secrets.token_hex(8), "NX", "EX", MARK_LIFE_S)
            found = (await self._client.call(made, ("GET", name))).replies[1]
        return found.decode() if isinstance(found, bytes) else ""

    async def elsewhere(self) -> str | None:
        """The same for a single check while a worker runs: a lost mark counts as another cache."""
        now = await self._clock()
        noted = [one for one in await noted_by(self._engine) if one.noted_at > now - LEFT]
        if not noted or _reaches(noted, self._root, await self._mark()):
            return None
        return _told(max(noted, key=lambda one: one.noted_at), self._root)

    async def _clock(self) -> datetime:
        async with looking(self._engine) as connection:
            return (await connection.execute(NOW)).scalar_one()  # type: ignore[no-any-return]


async def noted_by(engine: AsyncEngine) -> Sequence[Noted]:
    """Every noted cache; none where the table does not exist yet."""
    try:
        async with looking(engine) as connection:
            return [Noted(*row) for row in await connection.execute(NOTED)]
    except ProgrammingError:
        return []  # a web app that was deployed before `stoker migrate`: nobody has noted anything


def _reaches(noted: Sequence[Noted], root: str, mark: str | None) -> bool:
    return any((one.root, one.mark, one.diverged_since) == (root, mark, None) for one in noted)


def _told(newest: Noted, root: str) -> str:
    if newest.root != root:
        return (
            f"the worker invalidates another cache: its keys begin with {newest.root}, those of this process "
            f"with {root}; restart whichever has old settings (cache.prefix) or an old installation id"
        )
    return "the worker invalidates another cache than this process reads: compare CACHE_REDIS_URL"
