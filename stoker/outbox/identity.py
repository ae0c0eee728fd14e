"""Which cache the outbox is applied to, so that no process goes on reading another one.

A cache is identified by its key prefix and the run of its server, as stamps are. A process that applies
events notes both in Postgres before it settles any, in a table of all caches that were noted; the breaker of
a reader compares its own cache with it. Raises CacheUnavailable or DatabaseUnavailable. docs/decisions/0011
says what happens when a server is replaced, or a cache is left and used again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.resources import files

from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from stoker.errors import CacheUnavailable
from stoker.postgres import database_errors, short_connection
from stoker.redis.cache import CacheClient

logger = logging.getLogger(__name__)

NOTE_S = 10.0
"""Seconds between two notes of a process that applies events; a restarted server is noted by then."""
NOTE_POLL_S = 0.5
"""Seconds between two looks for a new note."""
LEFT = timedelta(seconds=60)
"""After this time without a note no process applies to a cache any more: longer than a batch may take."""
LOCK = 0x5730CE14
"""Key of the advisory lock under which a move is noted: an arbitrary constant."""
NOW = text("SELECT clock_timestamp()")
NOTED = text("SELECT root, run, noted_at, diverged_since FROM stoker.cache_identities")
STAY, MOVE, LEAVE, RETURN, AGAIN, SETTLE_IN, FORGET = (
    text(statement)
    for statement in files("stoker.outbox").joinpath("identity.sql").read_text().split(";\n")
    if statement.strip()
)


@dataclass(frozen=True, slots=True)
class Noted:
    """A cache that events were applied to. `diverged_since`: since when some have gone to another one."""

    root: str
    run: str
    """Of a cluster: the runs of its primaries, sorted, with commas in between."""
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
        self._noted_run: str | None = None
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
            self._noted_run = await self._note()
        except CacheUnavailable as error:
            self._unnoted = str(error)
        else:
            self._unnoted = None
            self._note_at_s = began_s + NOTE_S

    def require(self) -> None:
        """Raise CacheUnavailable if the last note failed: readers would not know where events are applied."""
        if self._unnoted is not None:
            raise CacheUnavailable(self._unnoted)

    async def acknowledged(self, runs: Iterable[bytes]) -> None:
        """Note the server that has acknowledged unlinks, unless it is noted; call it before settling.

        After a failover that is another one than the last note names, and readers may still reach the old
        one. Raises CacheUnavailable where the servers of several runs took part.
        """
        if self._are_noted(runs):
            return
        self._note_at_s = 0.0
        await self.note()
        self.require()
        if not self._are_noted(runs):
            raise CacheUnavailable("the cache Redis was replaced while changes were applied: once more")

    def _are_noted(self, runs: Iterable[bytes]) -> bool:
        return {run.decode() for run in runs} <= _each(self._noted_run or "")

    async def diverged(self) -> str | None:
        """Why changes do not reach the cache of this process; None if they do, or if that is not known."""
        noted = await noted_by(self._engine)
        # No call is made if the server has identified itself lately.
        if not noted or _reaches(noted, self._root, await self._client.run()):
            return None
        run = await self._run()
        if run != self._seen:
            self._seen, self._seen_at = run, await self._clock()
        ours = next((one for one in noted if one.root == self._root and _each(one.run) & _each(run)), None)
        newest = max(noted, key=lambda one: one.noted_at)
        if ours is None and newest.root == self._root:
            # The server may have been restarted or replaced; then the next note has the new run.
            another = newest.noted_at > self._seen_at
        else:
            another = ours is None or ours.diverged_since is not None
        return _told(newest, self._root) if another else None

    async def elsewhere(self, patience_s: float = 0) -> str | None:
        """As `diverged`, for a single check: a run that is not noted is another cache, or not noted yet.

        A server that was restarted, and an unnamed one that was flushed, have a run that the worker notes
        within NOTE_S; `patience_s` is how long to wait for that note.
        """
        began, run = await self._clock(), await self._run()
        give_up_s = time.monotonic() + patience_s
        while True:
            noted = [one for one in await noted_by(self._engine) if one.noted_at > began - LEFT]
            if not noted or _reaches(noted, self._root, run):
                return None
            newest = max(noted, key=lambda one: one.noted_at)
            if newest.root != self._root or newest.noted_at > began:
                return _told(newest, self._root)
            if time.monotonic() >= give_up_s:
                return _not_noted((began - newest.noted_at).total_seconds())
            await asyncio.sleep(NOTE_POLL_S)

    async def _note(self) -> str:
        with database_errors():
            async with self._engine.begin() as connection:
                # The time is taken before the run is asked for: a process that saw another run by then reads
                # another cache.
                at = await connection.scalar(NOW)
                run = await self._run()
                here = {"root": self._root, "run": run, "at": at}
                if (await connection.execute(STAY, here)).first() is None:
                    run = await self._move(connection)
                return run

    async def _move(self, connection: AsyncConnection) -> str:
        """Note another cache than the last noted one, or the same one while another is noted too."""
        await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
        # Asked again under the lock, so that of two runs the one that was seen later is noted later.
        at, run = await connection.scalar(NOW), await self._run()
        here = {"root": self._root, "run": run, "at": at}
        await connection.execute(MOVE, here)
        left = (await connection.execute(LEAVE, here)).all()
        for root, _ in left:
            if root != self._root:
                logger.warning("cache.moved", extra={"left": root, "applied_to": self._root})
            else:
                logger.info("cache.restarted_or_replaced", extra={"applied_to": self._root})
        since = await connection.scalar(RETURN, {**here, "left": LEFT})
        if since is not None:
            again = await connection.execute(AGAIN, {"since": since})
            await connection.execute(SETTLE_IN, here)
            logger.warning("cache.returned", extra={"applied_again": again.rowcount})
        await connection.execute(FORGET, {**here, "keep": max(self._keep, 2 * LEFT)})
        return run

    async def _run(self) -> str:
        """The run of the server that answers now, confirmed by a call."""
        return await self._client.run(asked=True)

    async def _clock(self) -> datetime:
        async with short_connection(self._engine) as connection:
            return (await connection.execute(NOW)).scalar_one()  # type: ignore[no-any-return]


async def noted_by(engine: AsyncEngine) -> Sequence[Noted]:
    """Every noted cache; none where the table does not exist yet."""
    try:
        async with short_connection(engine) as connection:
            return [Noted(*row) for row in await connection.execute(NOTED)]
    except ProgrammingError:
        return []  # a web app that was deployed before `stoker migrate`: nobody has noted anything


async def forget_all(engine: AsyncEngine) -> None:
    """Forget every noted cache: for a process that has just started the cache's server empty."""
    with database_errors():
        async with engine.begin() as connection:
            await connection.execute(text("DELETE FROM stoker.cache_identities"))


def _reaches(noted: Sequence[Noted], root: str, run: str) -> bool:
    """Whether changes are applied here; of a cluster, whether one node of it is of the noted cluster."""
    ours = _each(run)
    return any(one.root == root and one.diverged_since is None and ours & _each(one.run) for one in noted)


def _each(run: str) -> set[str]:
    """The runs of the nodes of a cluster; of a single server its run."""
    return set(run.split(",")) - {""}


def _told(newest: Noted, root: str) -> str:
    if newest.root != root:
        return (
            f"the worker invalidates another cache: its keys begin with {newest.root}, those of this process "
            f"with {root}; restart whichever has old settings (cache.prefix) or an old installation id"
        )
    return "the worker invalidates another cache than this process reads: compare CACHE_REDIS_URL"


def _not_noted(ago_s: float) -> str:
    return (
        f"the cache of CACHE_REDIS_URL is not the one that a worker noted {ago_s:.0f} s ago: it was "
        "restarted, failed over or flushed since, and no worker has noted that yet; or it is another cache"
    )
