"""The world of a race: a fresh database, a prefix of its own, and processes that share both.

A scenario is a plain async function of a World. It calls `never` where the fault would show, so the same
function proves the guard and, with the guard removed, the fault.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

from redis.asyncio import Redis
from sqlalchemy import NullPool, text
from sqlalchemy.ext.asyncio import create_async_engine

import stoker.cache.store
from stoker import EntryKey, Event, Reading, Receipt, Scope, State, Stoker, load_settings
from stoker.cache.keys import EntryNames
from stoker.cache.reading import Found
from stoker.errors import Defer
from stoker.handlers.context import JobContext
from stoker.handlers.relay import apply_all
from stoker.handlers.run import run
from stoker.jobs import Job, Outcome
from stoker.queue.progress import Progress
from stoker.settings import (
    CacheSettings,
    ChangesSettings,
    DatabaseSettings,
    LoaderSettings,
    QueueSettings,
    Settings,
)
from stoker.settings.topology import nodes
from tests.support.notes import MemberRemoved, NoteChanged, Notes
from tests.support.traps import TrappedLink

T = TypeVar("T")
NEVER_S = 3600
"""For what a test does itself when it wants it done."""
PATIENCE_S = 30.0
"""A wait longer than this is a fault, however busy the machine."""
MISSING: ContextVar[str | None] = ContextVar("missing", default=None)
"""The guard that is gone in the run that shows what happens without it."""


class Fault(AssertionError):
    """The fault that the race is about was seen."""


def never(what: str, *, happened: bool) -> None:
    """Raise a Fault if it happened."""
    if happened:
        raise Fault(what)


@asynccontextmanager
async def patience(what: str, without_s: float = PATIENCE_S) -> AsyncIterator[None]:
    """Raise a Fault if the block is not done by then.

    `without_s`: how long to wait where the guard is gone and the wait is in vain.
    """
    try:
        async with asyncio.timeout(PATIENCE_S if MISSING.get() is None else without_s):
            yield
    except TimeoutError as error:
        raise Fault(what) from error


@contextmanager
def no_error() -> Iterator[None]:
    """Raise a Fault if the block raises anything."""
    try:
        yield
    except Exception as error:
        raise Fault(f"it failed: {error!r}") from error


async def applies(process: Process) -> int:
    """Apply what is recorded; any exception is a fault."""
    with no_error():
        return await process.apply()


async def deferred(task: Awaitable[Outcome]) -> bool:
    """Whether a task asks to run again later."""
    try:
        await task
    except Defer:
        return True
    return False


async def turns() -> None:
    """Let everybody go on as far as they can without a server."""
    for _ in range(100):
        await asyncio.sleep(0)


@dataclass(frozen=True)
class Urls:
    """Where the servers are."""

    database: str
    queue: str
    cache: str


class Process:
    """One process of an application: a Stoker with loaders of its own, and wires that a test can cut."""

    def __init__(
        self, stoker: Stoker, notes: Notes, cache_link: TrappedLink, queue_link: TrappedLink
    ) -> None:
        self.stoker = stoker
        self.notes = notes
        self.cache_link = cache_link
        self.queue_link = queue_link

    async def read(
        self,
        note_id: int = 1,
        view: str = "detail",
        *,
        reader: int = 1,
        bypass: bool = False,
        without_s: float = PATIENCE_S,
    ) -> Reading:
        """Read an entry, with a generous time limit."""
        async with patience(f"{view} of note {note_id} was not answered", without_s):
            return await self.stoker.read(view, note_id, reader=reader, bypass=bypass)

    async def body(self, note_id: int = 1, reader: int = 1) -> str:
        """The text that a reader is shown."""
        return str((await self.read(note_id, reader=reader)).value["body"])

    async def apply(self) -> int:
        """Apply all recorded events, as the relay job and the sweeper do."""
        async with patience("recorded events were not applied"):
            return await apply_all(self.stoker)

    async def task(self, job: Job) -> Outcome:
        """Carry out a job in this process."""
        async with patience(f"{job.kind} did not end"):
            progress = Progress(self.stoker.queue.redis, self.stoker.settings.queue)
            return await run(JobContext(self.stoker, progress, "job"), job)

    def digest(self, script: str) -> str:
        """What a request that runs one of the cache's scripts contains: `begin`, `store`, `release`."""
        found: str = getattr(stoker.cache.store, script.upper()).digest
        return found

    async def close(self) -> None:
        """End the process in its orderly way."""
        for link in (self.cache_link, self.queue_link):
            link.mend()
            link.let_go()
        await self.stoker.close()
        await self.cache_link.close()
        await self.queue_link.close()


class World:
    """Servers, and the processes on them. Note 1 says `v1`; reader 1 may read it."""

    def __init__(self, urls: Urls, prefix: str) -> None:
        self.urls = urls
        self.prefix = prefix
        self.redis: Redis = Redis.from_url(nodes(urls.cache)[0])
        self._processes: list[Process] = []
        self._tasks: list[asyncio.Task[Any]] = []

    @property
    def first(self) -> Process:
        """The process that every world has."""
        return self._processes[0]

    async def start(self) -> None:
        """Empty the tables; make the first process, the first note and its member."""
        engine = create_async_engine(self.urls.database, poolclass=NullPool)
        async with engine.begin() as connection:
            await connection.execute(
                text("TRUNCATE notes, note_members, stoker.cache_events, stoker.cache_identities")
            )
            await connection.execute(text("UPDATE stoker.cache_term SET term_ms = 0, longest_ms = 0"))
        await self.process()
        await self.sql("INSERT INTO notes VALUES (1, 'v1')")
        await self.sql("INSERT INTO note_members VALUES (1, 1)")
        await self.first.stoker.cache_identity.note()  # a worker would have written it long ago

    async def close(self) -> None:
        """End what the test began."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for process in self._processes:
            await process.close()
        await self.redis.aclose()

    async def process(self, notes: Notes | None = None, **settings: Mapping[str, Any]) -> Process:
        """Another process on the same servers; `settings` by table, as `cache={"lease_s": 1}`."""
        notes = notes or Notes()
        cache_link = await self._link_to_cache()
        queue_link = await TrappedLink(self.urls.queue).start()
        quiet = {"watch_s": NEVER_S, "breaker_retry_s": NEVER_S, "stats_flush_s": NEVER_S}
        cache = {"prefix": self.prefix, "timeout_s": PATIENCE_S, "lease_wait_s": 2 * PATIENCE_S, **quiet}
        given: Settings = load_settings(
            database_url=self.urls.database,
            redis_url=queue_link.url,
            cache_redis_url=cache_link.url,
            cache=CacheSettings.model_validate({**cache, **settings.get("cache", {})}),
            queue=QueueSettings.model_validate({"prefix": self.prefix, **settings.get("queue", {})}),
            changes=ChangesSettings.model_validate(settings.get("changes", {})),
            loaders=LoaderSettings.model_validate(settings.get("loaders", {})),
            database=DatabaseSettings.model_validate({"deadline_s": NEVER_S, **settings.get("database", {})}),
        )
        process = Process(await Stoker.open(given, notes.domain), notes, cache_link, queue_link)
        self._processes.append(process)
        return process

    async def _link_to_cache(self) -> TrappedLink:
        return await TrappedLink(self.urls.cache).start()

    def begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Let something go on beside the test; cancelled with the world."""
        task = asyncio.create_task(work)
        self._tasks.append(task)
        return task

    async def either(self, one: Awaitable[Any], other: Awaitable[Any]) -> None:
        """Wait until one of two things has happened; both go on."""
        both = {asyncio.ensure_future(one), asyncio.ensure_future(other)}
        self._tasks += both
        async with patience("neither happened"):
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)

    async def sql(self, statement: str, **parameters: object) -> Any:  # noqa: ANN401 - a scalar
        """Run one statement in a transaction of its own; its first column, if it has rows."""
        async with self.first.stoker.engine.begin() as connection:
            found = await connection.execute(text(statement), parameters)
            return found.scalar() if found.returns_rows else None

    async def write(self, body: str = "v2", note_id: int = 1, event: Event | None = None) -> Receipt:
        """Change a note and record it, in one transaction; nothing is applied yet."""
        stoker = self.first.stoker
        async with stoker.session() as session:
            await session.execute(
                text("UPDATE notes SET body = :body WHERE id = :id"), {"body": body, "id": note_id}
            )
            receipt = stoker.record(session, event or NoteChanged(note_id=note_id, readers=(1,)))
            await session.commit()
        return receipt

    async def remove_member(self, reader: int = 1, body: str = "secret") -> None:
        """Take a reader's right away and change the note; returns when it is applied."""
        stoker = self.first.stoker
        async with stoker.session() as session:
            await session.execute(
                text("DELETE FROM note_members WHERE note_id = 1 AND reader_id = :reader"), {"reader": reader}
            )
            await session.execute(text("UPDATE notes SET body = :body WHERE id = 1"), {"body": body})
            stoker.record(session, MemberRemoved(note_id=1, reader_id=reader))
            await session.commit()
        await self.first.apply()

    async def change(self, body: str = "v2", note_id: int = 1) -> None:
        """Change a note, and see the change applied."""
        await self.write(body, note_id)
        await self.first.apply()

    def names(self, view: str = "detail", note_id: int = 1, kind: str = "note") -> EntryNames:
        """The keys of an entry."""
        return self.first.stoker.cache.store.keys.entry(EntryKey(view, Scope(kind, str(note_id))))

    async def peek(self, view: str = "detail", note_id: int = 1, process: Process | None = None) -> Found:
        """What Redis holds for an entry, judged as a read would."""
        store = (process or self.first).stoker.cache.store
        return (await store.lookup.peek((self.names(view, note_id),)))[0]

    async def kept(
        self, view: str = "detail", note_id: int = 1, process: Process | None = None
    ) -> bytes | None:
        """The body of a valid entry, or None."""
        found = await self.peek(view, note_id, process)
        return found.content.body if found.miss is None and found.content else None

    async def must_show(self, body: str, process: Process | None = None) -> None:
        """No reader sees anything else from now on; and what is kept is the same."""
        shown = await (process or self.first).body()
        never(f"a read begun after the change showed {shown!r}, not {body!r}", happened=shown != body)
        again = await (process or self.first).read()
        never(f"what was kept is not {body!r}", happened=again.value["body"] != body)

    async def warmed(self, process: Process | None = None) -> Process:
        """Fill the entry and its access, and see that it is a hit."""
        process = process or self.first
        await process.read()
        assert (await process.read()).state is State.HIT
        return process


async def fill(world: World) -> None:
    """Let the cache refuse everything that needs memory."""
    await world.redis.config_set("maxmemory-policy", "noeviction")
    await world.redis.config_set("maxmemory", "1")
