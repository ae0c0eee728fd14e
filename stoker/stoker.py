"""The one object that a process makes: connections, cache, outbox and queue of an application.

A web app opens it where it starts and closes it where it stops. Either Redis may be away at any time;
Postgres must answer once, at the start.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from copy import copy
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from stoker.cache.accounting import Accounting
from stoker.cache.batch import read_many
from stoker.cache.breaker import Breaker
from stoker.cache.deadline import UNTIL, begin_waits
from stoker.cache.detached import Detached
from stoker.cache.envelope import Seal
from stoker.cache.fill import Filler
from stoker.cache.keys import KeySpace
from stoker.cache.loads import Loads
from stoker.cache.lookup import Asked, Params
from stoker.cache.near import NearCache
from stoker.cache.read import Cache
from stoker.cache.reading import Reading
from stoker.cache.store import Store
from stoker.cache.view import EntryKey, View
from stoker.closing import close_within
from stoker.domain import Domain, load_domain
from stoker.driver import LimitedEngine, close_for_good
from stoker.errors import (
    BadRequest,
    CacheUnavailable,
    DatabaseUnavailable,
    QueueUnavailable,
    StokerError,
    Unavailable,
)
from stoker.jobs import Job, Refresh
from stoker.loop import repeat
from stoker.outbox import seal_keys
from stoker.outbox.databases import check_engine, check_same_database, installation_of, with_url_of
from stoker.outbox.identity import CacheIdentity
from stoker.outbox.receipt import Receipt
from stoker.outbox.record import AnySession, Outbox
from stoker.outbox.requests import Requests
from stoker.outbox.rows import unsettled
from stoker.postgres import (
    application_engine,
    database_errors,
    loader_engine,
    reading_engine,
    sign_of_life,
)
from stoker.queue import owner
from stoker.queue.enqueue import CancelAnswer, Enqueued, Queue
from stoker.queue.progress import JobState, Progress, ProgressReport
from stoker.queue.result import result_of
from stoker.queue.ring import Ringer
from stoker.redis.cache import CacheClient
from stoker.rules import Event, Invalidation
from stoker.schema import use_schema
from stoker.settings import Settings, load_settings, require
from stoker.silence import Silence

logger = logging.getLogger(__name__)

ASK_AGAIN_S = 2.0
"""Seconds in which a process asks for the refresh of an entry once."""
ASKED_KEPT = 10_000
CLOSE_S = 2.0
"""For each part of a Stoker that closes."""


class Stoker:
    """Everything of one process. Make it with `open`, inside the event loop that uses it."""

    def __init__(
        self,
        settings: Settings,
        domain: Domain,
        installation: str,
        engine: AsyncEngine,
        silence: Silence,
        seal: Seal,
    ) -> None:
        self.settings = settings
        self.domain = domain
        self.engine = engine
        self._owns_engine = True
        self._readers: list[LimitedEngine] = []
        self.installation = installation
        self._silence = silence
        self._seal = seal
        self._sessions = async_sessionmaker(engine, expire_on_commit=False)
        self._loader_engine = loader_engine(settings, silence)
        silence.asks(sign_of_life(self._loader_engine))
        self._detached = Detached()
        self._asked: dict[EntryKey, float] = {}
        self.queue = Queue.from_url(
            require(settings.redis_url, "REDIS_URL"), settings.queue, domain.all_lanes
        )
        self.accounting = Accounting()
        self.cache = self._make_cache()
        self._ringer = Ringer(self.queue)
        self._requests = Requests(self.queue, engine)
        self._outbox = Outbox(
            domain,
            engine,
            installation,
            self._ringer,
            self.cache.store.lookup.unasked.ask_again,
            settings.database.schema_name,
        )
        self._loops = [
            asyncio.create_task(self.cache.breaker.run(), name="breaker"),
            asyncio.create_task(
                repeat("accounting", self._flush_accounting, lambda: settings.cache.stats_flush_s),
                name="accounting",
            ),
            asyncio.create_task(
                repeat("seal-keys", self._learn_seal_keys, lambda: seal_keys.LEARN_S), name="seal-keys"
            ),
        ]

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
        domain = domain or load_domain(settings.domain)
        settings.require_views(domain.views_by_name)
        settings.lanes.of(domain.all_lanes)  # raises for a lane that the domain does not have
        if engine is not None:
            settings = with_url_of(engine, settings)
            await check_engine(engine)
            use_schema(engine.sync_engine, settings.database.schema_name)
        silence = Silence(settings.database.deadline_s)
        used = engine or application_engine(settings, silence)
        try:
            installation, seal = await installation_of(used), Seal(*await seal_keys.learn(used))
            stoker = cls(settings, domain, installation, used, silence, seal)
        except BaseException:
            await silence.close()
            if engine is None:
                await used.dispose()
            raise
        stoker._owns_engine = engine is None
        await stoker._begin()
        return stoker

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

        No part of it takes longer than CLOSE_S, whatever the servers do. No connection to Postgres is left
        open: one that is still in use is ended, and so is its transaction.
        """
        try:
            for loop in self._loops:
                loop.cancel()
            await close_within(CLOSE_S, "loops", asyncio.wait(self._loops))
            await close_within(CLOSE_S, "rings", self._ringer.close())
            await close_within(CLOSE_S, "requests", self._requests.close())
            await close_within(CLOSE_S, "loads", self._detached.close())
            await close_within(CLOSE_S, "counters", self._flush_last())
            await close_within(CLOSE_S, "queue", self.queue.close())
            await close_within(CLOSE_S, "cache", self.cache.store.client.close())
        finally:
            await self._silence.close()
            try:
                await close_for_good(self._loader_engine)
            finally:
                for reader in self._readers:
                    await close_for_good(reader)
                if self._owns_engine:
                    await close_for_good(self.engine)

    def for_reading(self) -> Self:
        """The same Stoker, whose `engine` is a small pool for operators' questions (api.read_connections).

        So no question to the console takes a connection from writes or runs without end. It is closed with
        this one.
        """
        reader = copy(self)
        engine = reading_engine(self.settings, self._silence)
        self._readers.append(engine)
        reader.engine = engine
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
        return self._outbox.record(session, event)

    async def read(
        self,
        view: str | View,
        scope_id: object,
        params: Params = None,
        *,
        reader: object = None,
        bypass: bool = False,
    ) -> Reading:
        """Read one entry: from the cache if it is valid, else from SQL, and then it is kept.

        `reader`: the id that the access view, or an owner's scope, knows; needed unless the view is for
        anyone. `bypass` answers from SQL and leaves the cache alone. Raises NotFound, Forbidden, BadRequest
        (with the field), DatabaseUnavailable, or what the loader raised where there is no older value that
        may be served. Never raises because a Redis is away.
        """
        UNTIL.set(None)
        return await self.cache.read(view, scope_id, params, reader=reader, bypass=bypass)

    async def read_many(
        self, asked: Sequence[Asked], *, reader: object = None
    ) -> list[Reading | StokerError]:
        """Read many entries of any views: one round trip for what is cached, one load a view for the rest.

        One answer for each request, in their order. Where `read` would raise a StokerError, the error stands
        in its place and the others are answered.
        """
        begin_waits(self.settings.database.deadline_s)
        return await read_many(self.cache, asked, reader=reader)

    async def enqueue(
        self, job: Job, *, delay: timedelta = timedelta(0), at: datetime | None = None
    ) -> Enqueued:
        """Ask the worker for a job, not before `delay` has passed or `at` has come; raises QueueUnavailable.

        A job whose coalesce key waits already is not written a second time; the answer says so. Raises
        UnknownJob for one that no handler of the domain runs, BadRequest for one that names a view, scope or
        warm plan which the domain does not have, and for one that is too large.
        """
        return (await self.enqueue_many([job], delay=delay, at=at))[0]

    async def enqueue_many(
        self, jobs: Sequence[Job], *, delay: timedelta = timedelta(0), at: datetime | None = None
    ) -> list[Enqueued]:
        """The same for many jobs, in their order, at the cost of one round trip for each 500."""
        for job in jobs:
            self.domain.check_job(job)
        return await self.queue.enqueue_many(jobs, delay=_delay(delay, at))

    def enqueue_in(
        self,
        session: AnySession,
        job: Job,
        *,
        delay: timedelta = timedelta(0),
        at: datetime | None = None,
    ) -> str:
        """Ask for a job in the session's transaction: it is enqueued after the commit, or not at all.

        Returns the id that the job will have. Takes async, sync and scoped sessions; touches no Redis. A
        worker delivers it once, within milliseconds of the commit where the queue answers, else when it is
        back. Jobs of one lane are delivered in the order of asking, as far as their transactions commit in
        it. Raises what `enqueue` raises for a job that could never run, and WrongServer as `record` does.
        """
        self.domain.check_job(job)
        later = _delay(delay, at)
        due_at = datetime.now(UTC) + later if later else None
        return self._requests.add(self._outbox.ours(session), job, due_at)

    async def result(self, job_id: str, timeout: timedelta = timedelta(seconds=30)) -> Any:  # noqa: ANN401, ASYNC109 - JSON; the word for it
        """What the handler of a job returned, as JSON gives it back; waits until the job has ended.

        For jobs with `keep_result`. Raises JobFailed with the job's error, NoResult where none is kept,
        TimeoutError, QueueUnavailable or DatabaseUnavailable.
        """
        _check_span(timeout, "timeout")
        async with asyncio.timeout(timeout.total_seconds()):
            return await result_of(self.queue, job_id, self._requests.is_on_its_way)

    async def progress(self, job_id: str) -> ProgressReport | None:
        """The last word about a job that reports, or that is followed; None if there is none.

        Raises QueueUnavailable.
        """
        return await Progress(self.queue.redis, self.queue.settings).read(job_id)

    async def cancel(self, job_id: str) -> CancelAnswer:
        """End a waiting or running job for good; raises QueueUnavailable."""
        answer = await self.queue.cancel(job_id)
        if answer is CancelAnswer.CANCELLED:  # callers that wait for its result must see its end
            await Progress(self.queue.redis, self.queue.settings).finish(job_id, JobState.CANCELLED)
        return answer

    async def invalidate_now(self, invalidations: Iterable[Invalidation]) -> None:
        """Unlink stamps here and now, without worker or queue; raises CacheUnavailable.

        For taking a right away: there the caller must not be answered before it is done. Raises
        DeclarationError for what the domain does not have.
        """
        await self.unlink(self.domain.checked(invalidations, "invalidate_now"))

    async def unlink(self, invalidations: Iterable[Invalidation]) -> None:
        """The same for what another release asked for, whose views this one may not know (RACES 30)."""
        store = self.cache.store
        stamps: set[str] = set()
        for one in invalidations:
            views = one.views or self.domain.view_names_by_scope.get(one.scope.kind, frozenset())
            stamps |= store.stamps_of(one.scope, views, hard=one.hard)
        await store.unlink(stamps)
        store.lookup.unasked.ask_again()

    def vitals(self) -> dict[str, float]:
        """Figures that only this process knows, by name, for its own metrics; costs nothing to ask.

        `breaker_open`: 1 while its reads bypass the cache. `near_bytes`: what it keeps of entries.
        `loads_running`: loads that have a connection now, of loaders.connections. `postgres_silent`: 1 while
        SQL is refused because Postgres does not answer.
        """
        return {
            "breaker_open": float(self.cache.breaker.open),
            "near_bytes": float(self.cache.store.lookup.near.bytes),
            "loads_running": float(self.cache.filler.loads.running),
            "postgres_silent": float(self._silence.reason is not None),
        }

    def ttl(self, view: str | View) -> timedelta:
        """The TTL in force for a view."""
        declared = self.domain.view(view)
        return self.settings.ttl(declared.name, declared.ttl)

    async def _begin(self) -> None:
        """Compare the servers with each other."""
        if not self._owns_engine:
            try:
                await check_same_database(self._loader_engine, self.installation)
            except BaseException:
                await self.close()
                raise
        with suppress(Unavailable):  # the breaker checks again; a server may be away
            await self.cache.breaker.compare()
        self._detached.start(self._compare_queue())

    def _make_cache(self) -> Cache:
        settings = self.settings
        keys = KeySpace(settings.cache.prefix, self.installation)
        url = settings.cache_redis_url or settings.redis_url
        client = CacheClient(
            require(url, "CACHE_REDIS_URL"),
            timeout_s=settings.cache.timeout_s,
            connections=settings.cache.connections,
            nonce_key=keys.nonce,
        )
        loads = Loads(
            self._loader_engine,
            self._detached,
            self._silence,
            cap=settings.loaders.connections,
            # The server ends a statement; this ends a loader that hangs anywhere else.
            limit=timedelta(seconds=settings.loaders.statement_timeout_s * 1.5),
        )
        near = NearCache(settings.cache.near_bytes)
        lease = timedelta(seconds=settings.cache.lease_s)
        store = Store(client, keys, lease, near, self._seal, settings.cache.near_unasked_ms)
        filler = Filler(self.domain, store, loads, settings, self.accounting, self._detached)
        self.cache_identity = CacheIdentity(
            self.engine, client, keys.root, timedelta(seconds=settings.changes.keep_settled_s)
        )
        breaker = Breaker(
            client, lambda: unsettled(self.engine), settings.cache, self.cache_identity.diverged
        )
        return Cache(filler, breaker, self._ask_refresh)

    async def _learn_seal_keys(self) -> None:
        with suppress(DatabaseUnavailable):  # what was learnt last holds, and the next time comes
            self._seal.use(*await seal_keys.learn(self.engine))

    def _ask_refresh(self, key: EntryKey) -> None:
        now = time.monotonic()
        if now - self._asked.get(key, -ASK_AGAIN_S) < ASK_AGAIN_S:
            return
        if len(self._asked) >= ASKED_KEPT:
            self._asked.clear()
        self._asked[key] = now
        self._detached.start(self._enqueue_refresh(key))

    async def _enqueue_refresh(self, key: EntryKey) -> None:
        try:
            await self.queue.enqueue(Refresh(view=key.view, scope_id=key.scope.id, params=key.params))
        except QueueUnavailable:
            self.accounting.count(key.view, "refresh_not_asked")  # the entry is still valid

    async def _compare_queue(self) -> None:
        # Logged, not raised: reads and writes are still right, and changes are applied by the sweeper.
        with suppress(QueueUnavailable):
            theirs = await owner.owner(self.queue.connection, self.queue.settings)
            if theirs not in (None, self.installation):
                said = owner.refused(self.queue.settings, str(theirs), self.installation)
                logger.error("queue.of_another_installation", extra={"error": said})

    async def _flush_last(self) -> None:
        try:
            await self.accounting.flush(self.cache.store.client, self.cache.store.keys)
        except CacheUnavailable:
            logger.info("accounting.lost_at_close")

    async def _flush_accounting(self) -> None:
        with suppress(CacheUnavailable):  # kept, and sent with the next flush
            await self.accounting.flush(self.cache.store.client, self.cache.store.keys)


def _delay(delay: timedelta, at: datetime | None) -> timedelta:
    _check_span(delay, "delay")
    if at is None:
        return delay
    if at.tzinfo is None:
        raise BadRequest(f"a moment without a time zone: {at.isoformat()}; give it one", field="at")
    if delay:
        raise BadRequest("give `delay` or `at`, not both", field="at")
    return max(at - datetime.now(UTC), timedelta(0))


def _check_span(value: object, name: str) -> None:
    if not isinstance(value, timedelta):
        raise BadRequest(
            f"{name} must be a timedelta, such as timedelta(seconds=5), not {value!r:.60}", field=name
        )
