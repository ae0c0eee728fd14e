"""What the runs of a case have in common, and the processes of one run with the protocol's own code."""

from __future__ import annotations

import asyncio
from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import blake2b
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from sqlalchemy import NullPool
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

import stoker.cache.fill
import stoker.cache.store
import stoker.handlers.relay
import stoker.outbox.term
from stoker import EntryKey, Scope, Settings, Stoker, load_settings
from stoker.cache.accounting import Accounting
from stoker.cache.breaker import Breaker
from stoker.cache.detached import Detached
from stoker.cache.fill import Filler
from stoker.cache.keys import EntryNames, KeySpace
from stoker.cache.lookup import Plan
from stoker.cache.near import Near, NearCache, Terms
from stoker.cache.read import AskRefresh, Cache
from stoker.cache.reading import Miss
from stoker.cache.store import BEGIN, RELEASE, STORE, Store
from stoker.cache.term import SERVED, SURE_S
from stoker.handlers.context import JobContext
from stoker.settings import CacheSettings, ChangesSettings, DatabaseSettings
from tests.explore import terms
from tests.explore.domain import DOMAIN, FIRST, State
from tests.explore.rows import Engine, Outbox, RelaySession, Rows, SteppedLoads
from tests.explore.search import Thread
from tests.explore.stage import STRAND
from tests.explore.valkey import SEAL, Server, SteppedClient, Taped

if TYPE_CHECKING:
    from tests.explore.play import Play

NEAR_BYTES = 1 << 20
TERM_MS = 1000
OBSERVER = "observer"
"""A process that keeps nothing near and takes part in nothing."""


@dataclass(frozen=True)
class Case:
    """A small program and what is special about its processes.

    `play` starts the actors; `setup` runs before, by itself. `shared`: processes in which several actors read
    or fill; `late`: those in which a reply may wait for its reader. `lossy`: those that may lose a reply;
    `losing`: a process and the script whose first reply is lost. `guarded`: rights change; `restarts`: the
    server does. `term_ms`: the installation's term at the start; None: there are none. `own_ms`: the setting
    of its readers. `rest`: entries checked when all is done, the first of which is read as well. `at_most`:
    interleavings in a test run.
    """

    name: str
    play: Callable[[Play], None]
    setup: Callable[[Play], Awaitable[None]] | None = None
    processes: tuple[str, ...] = ("web-1", "web-2", "worker")
    shared: frozenset[str] = frozenset()
    late: frozenset[str] = frozenset()
    lossy: frozenset[str] = frozenset()
    losing: tuple[str, str] | None = None
    failing: frozenset[str] = frozenset()
    guarded: bool = False
    restarts: bool = False
    term_ms: int | None = None
    own_ms: int = TERM_MS
    rest: tuple[EntryKey, ...] = (EntryKey("page", Scope("note", "1")),)
    lease_wait_s: float = 0.005
    cap: int = 4
    at_most: int = 300


@dataclass
class Ground:
    """What all runs of a case share: the server, each process's store, and how things stand at the start.

    `tape`: what the server answered in each step of the last run. `outcomes`: what readers were shown and
    what was kept in the end, of every run.
    """

    case: Case
    server: Server
    engine: AsyncEngine
    settings: Settings
    stores: dict[str, Store]
    first: State = FIRST
    values: Mapping[bytes, bytes] = field(default_factory=dict)
    ages_us: int = 0
    near: Mapping[str, list[tuple[str, Near]]] = field(default_factory=dict)
    tape: list[tuple[Thread, Taped]] = field(default_factory=list)
    outcomes: set[tuple[str, ...]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.leases = {names_of(self.stores[OBSERVER], key).lease: key for key in self.case.rest}


def names_of(store: Store, key: EntryKey) -> EntryNames:
    """The names of an entry."""
    return store.keys.entry(key, DOMAIN.view(key.view).layout)


@contextmanager
def prepared(case: Case, server: Server, prefix: str) -> Iterator[Ground]:
    """The ground of a case; while it is open, the relay's SQL, clocks and tokens are the explorer's."""
    settings: Settings = load_settings(
        cache=CacheSettings(ttl_jitter=0, lease_wait_s=case.lease_wait_s, breaker_unsettled_s=1e6),
        changes=ChangesSettings(refresh_hot=False),
        database=DatabaseSettings(deadline_s=3600),  # steps of a schedule take as long as they take
    )
    keys = KeySpace(prefix, "case")
    stores: dict[str, Store] = {}
    for process in (*case.processes, OBSERVER):
        client = SteppedClient(server, process)
        stores[process] = Store(client, keys, timedelta(seconds=20), NearCache(0), SEAL)
        client.learn(BEGIN, STORE, RELEASE)
    engine = create_async_engine("postgresql+asyncpg://nowhere", poolclass=NullPool)
    server.reset({})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            stoker.cache.fill, "time", SimpleNamespace(monotonic=lambda: STRAND.get().actor.clock_s)
        )
        patch.setattr(stoker.cache.store, "secrets", SimpleNamespace(token_urlsafe=_token))
        patch.setattr(
            stoker.outbox.term,
            "asyncio",
            SimpleNamespace(sleep=terms.sleep, timeout=asyncio.timeout, Lock=asyncio.Lock),
        )
        patch.setattr(stoker.handlers.relay, "outbox", Outbox)
        patch.setattr(stoker.handlers.relay, "AsyncSession", RelaySession)
        yield Ground(case, server, engine, settings, stores)


async def _nothing(*_: object) -> None:
    """There is only one cache here, so its identity is not written down."""


async def _cold(entries: Sequence[EntryNames]) -> list[Miss]:
    """Why an entry is absent is only counted, and this server does not evict by itself."""
    return [Miss.COLD] * len(entries)


def _token(size_bytes: int) -> str:
    """As long as a secret one and as unlike others, but the same in every run."""
    actor = STRAND.get().actor
    actor.tokens += 1
    named = f"{actor.name} {actor.tokens}".encode()
    return urlsafe_b64encode(blake2b(named, digest_size=size_bytes).digest()).rstrip(b"=").decode()


class Process:
    """One process of the application in one run. `stoker` is what the tasks know of one."""

    def __init__(
        self, ground: Ground, name: str, time: terms.Time, rows: Rows, ask_refresh: AskRefresh
    ) -> None:
        self.store = ground.stores[name]
        self.store.absent_because = _cold  # type: ignore[method-assign]
        self.store.lookup.near = NearCache(0 if name == OBSERVER else NEAR_BYTES)
        for entry, kept in ground.near.get(name, ()):
            self.store.lookup.near.put(entry, kept)
        self.term = self._with_terms(ground.case, name, time)
        cast("SteppedClient", self.store.client).join(time.stage)
        detached, accounting = Detached(), Accounting()
        loads = SteppedLoads(ground.engine, rows, detached, ground.case.cap)
        filler = Filler(DOMAIN, self.store, loads, ground.settings, accounting, detached)
        breaker = Breaker(self.store.client, rows.unsettled, ground.settings.cache)
        self.cache = Cache(filler, breaker, ask_refresh)
        hands: Any = SimpleNamespace(
            process_name="",
            cache_identity=SimpleNamespace(note=_nothing, require=lambda: None, acknowledged=_nothing),
            cache_term=self.term if ground.case.term_ms is not None else SimpleNamespace(over=_nothing),
            settings=ground.settings,
            engine=Engine(rows),
            domain=DOMAIN,
            cache=self.cache,
            accounting=accounting,
        )
        self.stoker: Stoker = hands
        self.context = JobContext(self.stoker, cast("Any", None), "job")

    def _with_terms(self, case: Case, name: str, time: terms.Time) -> terms.SteppedTerm:
        """Readers have learned the term right at the beginning; workers serve nobody."""
        used = self.store.lookup.terms = Terms[Plan]()
        is_reader = name.startswith("web")
        used.now_s = time.clock(terms.SLOW if is_reader else terms.FAST)
        if case.term_ms and is_reader:
            used.use(min(case.term_ms, case.own_ms) / 1000, used.now_s() + SURE_S * SERVED)
        return terms.SteppedTerm(time, used, case.own_ms if is_reader else 0)
