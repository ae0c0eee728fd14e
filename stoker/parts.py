"""The parts of one Stoker: connections, cache, queue and loops, opened together and closed together.

Postgres must answer once, at the start. Either Redis may be away at any time.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from datetime import timedelta
from typing import Self

from sqlalchemy.ext.asyncio import AsyncEngine

from stoker.cache.accounting import Accounting
from stoker.cache.breaker import Breaker
from stoker.cache.detached import Detached
from stoker.cache.envelope import Seal
from stoker.cache.fill import Filler
from stoker.cache.keys import KeySpace
from stoker.cache.loads import Loads
from stoker.cache.near import NearCache
from stoker.cache.read import Cache
from stoker.cache.store import Store
from stoker.cache.term import LEARN_S
from stoker.closing import close_within
from stoker.domain import Domain
from stoker.driver import LimitedEngine, close_for_good
from stoker.errors import CacheUnavailable, DatabaseUnavailable, QueueUnavailable, Unavailable
from stoker.loop import repeat
from stoker.outbox import seal_keys
from stoker.outbox.databases import check_engine, check_same_database, installation_of, with_url_of
from stoker.outbox.ends import JobEnds
from stoker.outbox.identity import CacheIdentity
from stoker.outbox.record import Outbox
from stoker.outbox.requests import Requests
from stoker.outbox.rows import unsettled
from stoker.outbox.term import CacheTerm
from stoker.outbox.writes import ring_for_writes
from stoker.postgres import application_engine, loader_engine, reading_engine, sign_of_life
from stoker.queue import owner
from stoker.queue.bells import DeliveryBell, RelayBell
from stoker.queue.enqueue import Queue
from stoker.queue.refreshes import Refreshes
from stoker.queue.ring import Departure, Ringer
from stoker.redis.cluster import cache_client
from stoker.schema import use_schema
from stoker.settings import Settings, require
from stoker.silence import Silence

logger = logging.getLogger(__name__)

CLOSE_S = 2.0
"""Seconds for each part that is closed."""


class Parts:
    """The parts of a Stoker. Make it with `open`, inside the event loop that uses it."""

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
        self.installation = installation
        self.engine = engine
        self.owns_engine = True
        self.silence = silence
        self.seal = seal
        self.loader_engine = loader_engine(settings, silence)
        silence.asks(sign_of_life(self.loader_engine))
        self._reading: list[tuple[LimitedEngine, Silence]] = []
        self.detached = Detached()
        self.queue = Queue.from_url(
            require(settings.redis_url, "REDIS_URL"), settings.queue, domain.all_lanes
        )
        self.accounting = Accounting()
        self.cache = self._make_cache()
        departure = Departure(self.queue.connection)
        self.ringer = Ringer(RelayBell(self.queue), departure)
        self.deliverer = Ringer(DeliveryBell(self.queue), departure)
        self.requests, self.ends = Requests(engine), JobEnds(engine)
        self.outbox = Outbox(
            domain,
            engine,
            installation,
            (self.ringer, self.deliverer),
            settings.database.schema_name,
        )
        if domain.captures:
            ring_for_writes(engine.sync_engine, self.ringer.soon)
        self.loops = self._start_loops()

    @classmethod
    async def open(cls, settings: Settings, domain: Domain, engine: AsyncEngine | None) -> Self:
        """Connect, compare the servers with each other and start the loops; see `Stoker.open`."""
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
            parts = cls(settings, domain, installation, used, silence, seal)
        except BaseException:
            await silence.close()
            if engine is None:
                await used.dispose()
            raise
        parts.owns_engine = engine is None
        await parts._compare_servers()
        return parts

    async def close(self) -> None:
        """Close everything, each part within CLOSE_S; see `Stoker.close`."""
        try:
            for loop in self.loops:
                loop.cancel()
            await close_within(CLOSE_S, "loops", asyncio.wait(self.loops))
            await close_within(CLOSE_S, "rings", self.ringer.close())
            await close_within(CLOSE_S, "deliveries", self.deliverer.close())
            await close_within(CLOSE_S, "loads", self.detached.close())
            await close_within(CLOSE_S, "counters", self._flush_last())
            await close_within(CLOSE_S, "queue", self.queue.close())
            await close_within(CLOSE_S, "cache", self.cache.store.client.close())
        finally:
            await self.silence.close()
            try:
                await close_for_good(self.loader_engine)
            finally:
                for engine, silence in self._reading:
                    await silence.close()
                    await close_for_good(engine)
                if self.owns_engine:
                    await close_for_good(self.engine)

    def add_reading_engine(self) -> LimitedEngine:
        """Another small pool for operators' questions; it is closed with the rest.

        It calls Postgres silent sooner than reads and writes do: people wait for what it is asked.
        """
        silence = Silence(self.settings.api.silent_after_s)
        engine = reading_engine(self.settings, silence)
        silence.asks(sign_of_life(engine))
        self._reading.append((engine, silence))
        return engine

    async def learn_seal_keys(self) -> None:
        """Read the keys that entries are sealed with; while Postgres is away, the last ones count."""
        with suppress(DatabaseUnavailable):
            self.seal.use(*await seal_keys.learn(self.engine))

    async def learn_term(self) -> None:
        """Read how long entries are served without asking Redis; while Postgres is away, soon not at all."""
        with suppress(DatabaseUnavailable):
            await self.cache_term.learn()

    def _make_cache(self) -> Cache:
        settings = self.settings
        keys = KeySpace(settings.cache.prefix, self.installation)
        url = settings.cache_redis_url or settings.redis_url
        client = cache_client(
            require(url, "CACHE_REDIS_URL"),
            timeout_s=settings.cache.timeout_s,
            connections=settings.cache.connections,
            nonce_key=keys.nonce,
        )
        loads = Loads(
            self.loader_engine,
            self.detached,
            self.silence,
            cap=settings.loaders.connections,
            # The server ends a statement; this ends a loader that hangs anywhere else.
            limit=timedelta(seconds=settings.loaders.statement_timeout_s * 1.5),
        )
        near = NearCache(settings.cache.near_bytes)
        lease = timedelta(seconds=settings.cache.lease_s)
        store = Store(client, keys, lease, near, self.seal)
        filler = Filler(self.domain, store, loads, settings, self.accounting, self.detached)
        self.cache_identity = CacheIdentity(
            self.engine, client, keys.root, timedelta(seconds=settings.changes.keep_settled_s)
        )
        self.cache_term = CacheTerm(self.engine, store.lookup.terms, settings.cache.term_ms)
        breaker = Breaker(
            client,
            lambda: unsettled(self.engine),
            settings.cache,
            self.cache_identity.diverged,
            store.lookup.terms.end,
        )
        return Cache(filler, breaker, Refreshes(self.queue, self.detached, self.accounting).ask)

    def _start_loops(self) -> list[asyncio.Task[None]]:
        flush_s = self.settings.cache.stats_flush_s
        loops = [
            asyncio.create_task(self.cache.breaker.run(), name="breaker"),
            asyncio.create_task(
                repeat("accounting", self._flush_accounting, lambda: flush_s), name="accounting"
            ),
            asyncio.create_task(
                repeat("seal-keys", self.learn_seal_keys, lambda: seal_keys.LEARN_S), name="seal-keys"
            ),
        ]
        if self.settings.cache.term_ms > 0:
            learning = repeat("term", self.learn_term, lambda: LEARN_S)
            loops.append(asyncio.create_task(learning, name="term"))
        return loops

    async def _compare_servers(self) -> None:
        if not self.owns_engine:
            try:
                await check_same_database(self.loader_engine, self.installation)
            except BaseException:
                await self.close()
                raise
        with suppress(Unavailable):  # the loops ask again; a server may be away
            await self.cache.breaker.compare()
            if self.settings.cache.term_ms > 0:
                await self.learn_term()
        self.detached.start(self._compare_queue())

    async def _compare_queue(self) -> None:
        # Logged, not raised: reads and writes are still right, and changes are applied by the sweeper.
        with suppress(QueueUnavailable):
            theirs = await owner.owner(self.queue.connection, self.queue.settings)
            if theirs not in (None, self.installation):
                said = owner.refused(self.queue.settings, str(theirs), self.installation)
                logger.error("queue.of_another_installation", extra={"error": said})

    async def _flush_accounting(self) -> None:
        with suppress(CacheUnavailable):  # kept, and sent with the next flush
            await self.accounting.flush(self.cache.store.client, self.cache.store.keys)

    async def _flush_last(self) -> None:
        try:
            await self.accounting.flush(self.cache.store.client, self.cache.store.keys)
        except CacheUnavailable:
            logger.info("accounting.lost_at_close")
