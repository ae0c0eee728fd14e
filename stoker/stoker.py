"""The one object that an application makes in each process, with every call that it offers.

A web app opens it where it starts and closes it where it stops. `parts` has the connections and loops
behind it. Either Redis may be away at any time; Postgres must answer once, at the start.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from copy import copy
from datetime import timedelta
from typing import Any, Self

from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_scoped_session, async_sessionmaker

from stoker.cache.batch import read_many
from stoker.cache.deadline import UNTIL, begin_waits
from stoker.cache.flush import unlink_every_scope
from stoker.cache.lookup import Asked, Params
from stoker.cache.reading import Reading
from stoker.cache.view import View
from stoker.domain import Domain, load_domain
from stoker.errors import StokerError
from stoker.job_calls import JobCalls
from stoker.outbox.receipt import Receipt, TransactionReceipt
from stoker.outbox.record import AnySession
from stoker.parts import Parts
from stoker.postgres import database_errors
from stoker.process_name import process_name
from stoker.revocation import take_effect
from stoker.rules import EVERY_SCOPE, Event, Invalidation
from stoker.settings import Settings, load_settings


class Stoker(JobCalls):
    """Everything of one process. Make it with `open`, inside the event loop that uses it."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self.settings = parts.settings
        self.installation = parts.installation
        self.process_name = process_name()
        self.engine = parts.engine
        self.ringer = parts.ringer
        self.cache = parts.cache
        self.cache_identity = parts.cache_identity
        self.cache_term = parts.cache_term
        self.accounting = parts.accounting
        self._sessions = async_sessionmaker(parts.engine, expire_on_commit=False)

    @classmethod
    async def open(
        cls,
        settings: Settings | None = None,
        domain: Domain | None = None,
        *,
        engine: AsyncEngine | None = None,
    ) -> Self:
        """Connect, and start the loops of this process.

        `settings`: without them, those of the file and the environment. `domain`: without one, that of the
        setting `domain`. `engine`: the application's own, which Stoker uses and never disposes of
        (docs/faq.md says what it must have); loaders still get connections of their own, by DATABASE_URL or
        else by the engine's URL.

        Raises SettingsError, DeclarationError, DatabaseUnavailable, or WrongServer for a server that cannot
        be used; the message says what to do. Either Redis may be away.
        """
        settings = settings or load_settings()
        return cls(await Parts.open(settings, domain or load_domain(settings.domain), engine))

    @classmethod
    @asynccontextmanager
    async def opened(
        cls,
        settings: Settings | None = None,
        domain: Domain | None = None,
        *,
        engine: AsyncEngine | None = None,
    ) -> AsyncIterator[Self]:
        """`open` as a context manager: closes at the end of the block."""
        stoker = await cls.open(settings, domain, engine=engine)
        try:
            yield stoker
        finally:
            await stoker.close()

    async def close(self) -> None:
        """Stop the loops, end the loads, write the last counters, close every connection.

        No part of it takes longer than two seconds, whatever the servers do. No connection to Postgres is
        left open: one that is still in use is ended, and so is its transaction.
        """
        await self._parts.close()

    def for_reading(self) -> Self:
        """The same Stoker, whose `engine` is a small pool for operators' questions (api.read_connections).

        So no question to the console takes a connection from writes or runs without end. It is closed with
        this one.
        """
        reader = copy(self)
        reader.engine = self._parts.add_reading_engine()
        return reader

    @asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncSession]:
        """A session of the application's engine. An outage of Postgres inside it is DatabaseUnavailable."""
        with database_errors():
            async with self._sessions() as session:
                yield session

    def record(self, session: AnySession, event: Event) -> Receipt:
        """Record an event in the session's transaction: it becomes true with its commit, or not at all.

        Takes async, sync and scoped sessions. Touches no Redis. The row is written right before the session
        commits: do not commit its connection past the session.

        Raises DeclarationError for an event without a rule, and for a rule that names a view or scope kind
        which the domain does not have. Raises WrongServer for a session of another database; the first
        session of an engine that Stoker has not seen yet raises it when it flushes or commits instead.
        """
        return self._parts.outbox.record(session, event)

    async def read(
        self,
        view: str | View,
        scope_id: object,
        params: Params = None,
        *,
        within: object = None,
        reader: object = None,
        bypass: bool = False,
    ) -> Reading:
        """Read one entry: from the cache if it is valid, else from SQL, and then it is kept.

        `reader`: the id that the access view names, or the owner's; needed unless the view is for anyone;
        SYSTEM for a job, which may read everything. `within`: the id of the parent that an entry
        with `Access.within` is asked for under; where it does not belong to that one, it is NotFound.
        `bypass` answers from SQL and leaves the cache alone.

        Raises NotFound, Forbidden, BadRequest (with the field), DatabaseUnavailable, or what the loader
        raised where there is no older value that may be served. Never raises because a Redis is away.
        """
        UNTIL.set(None)
        return await self.cache.read(view, scope_id, params, within, reader=reader, bypass=bypass)

    async def read_many(
        self, asked: Sequence[Asked], *, reader: object = None
    ) -> list[Reading | StokerError]:
        """Read many entries of any views: one round trip for what is cached, one load a view for the rest.

        One answer for each request, in their order. Where `read` would raise a StokerError, the error stands
        in its place and the others are answered. Raises DeclarationError for what is no Asked.
        """
        begin_waits(self.settings.database.deadline_s)
        return await read_many(self.cache, asked, reader=reader)

    def applied(self, session: AnySession) -> TransactionReceipt:
        """Follow all that the session's transaction records, by captures too; call it before the commit.

        Returns a receipt: `await receipt.applied()` after the commit waits until every event of the
        transaction is in effect; at once where there is none. Costs a round trip before the commit, which
        asks for the transaction's id. Raises what `record` raises for a session.
        """
        return self._parts.outbox.follow(session)

    async def commit_revocation(self, session: AsyncSession | async_scoped_session[Any]) -> None:
        """Commit a session that takes a right away; returns when nobody is shown anything by it any more.

        Waits two seconds for the worker to apply what the session has recorded, which should invalidate
        hard. Else it unlinks here, and where that cannot be done it raises CommittedNotApplied: the change is
        committed, cached values may still be shown, and the worker goes on trying. Tell the caller.

        Raises DatabaseUnavailable where the commit's answer was lost (its receipt says what became of it),
        DeclarationError for a session that has recorded nothing. What captures recorded counts, too.
        """
        events = await self._parts.outbox.recorded_in(session)
        with database_errors():
            await session.commit()
        await take_effect(self._parts, events, self.unlink)

    async def invalidate_now(self, invalidations: Iterable[Invalidation]) -> None:
        """Unlink stamps at once, without worker or queue, and wait for one term; raises CacheUnavailable.

        For removing a right: its caller must not be answered before the removal is in effect. Raises
        DeclarationError for what the domain does not have.
        """
        await self.unlink(self.domain.checked(invalidations, "invalidate_now"))

    async def unlink(self, invalidations: Iterable[Invalidation]) -> None:
        """As `invalidate_now`, for another release, whose views this one may not know (RACES 30)."""
        store = self.cache.store
        stamps: set[str] = set()
        for one in invalidations:
            if one.scope.kind == EVERY_SCOPE:
                await unlink_every_scope(store, one.views, hard=one.hard)
                continue
            views = one.views or self.domain.view_names_by_scope.get(one.scope.kind, frozenset())
            stamps |= store.stamps_of(one.scope, views, hard=one.hard)
        await store.unlink(stamps)
        await self.cache_term.over()

    def vitals(self) -> dict[str, float]:
        """Figures of this process, by name, for its own metrics. Makes no call to a server.

        `breaker_open`: 1 while its reads bypass the cache. `near_bytes`: memory of the entries that it keeps.
        `loads_running`: loads that hold one of loaders.connections now. `postgres_silent`: 1 while
        SQL is refused because Postgres does not answer.
        """
        return {
            "breaker_open": float(self.cache.breaker.open),
            "near_bytes": float(self.cache.store.lookup.near.bytes),
            "loads_running": float(self.cache.filler.loads.running),
            "postgres_silent": float(self._parts.silence.reason is not None),
        }

    def ttl(self, view: str | View) -> timedelta:
        """The TTL in force for a view."""
        declared = self.domain.view(view)
        return self.settings.ttl(declared.name, declared.ttl)
