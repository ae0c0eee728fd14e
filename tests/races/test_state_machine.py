"""Reads, changes and everything that may happen to the cache, in any order, with SQL as the model.

Changes are applied when the machine says so: a read begun after that never shows what was before, whatever
was evicted, flushed, restarted or rolled back. `HYPOTHESIS_PROFILE=long` tries far more.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Iterator
from contextlib import suppress
from itertools import product
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from redis.asyncio import Redis
from sqlalchemy import text

from stoker import EntryKey, Event, Forbidden, Refresh, Settings, State, Stoker, Warm, load_settings
from stoker.embedded import Embedded
from stoker.errors import Defer
from stoker.handlers.context import JobContext
from stoker.handlers.relay import apply_all
from stoker.handlers.run import run
from stoker.queue.progress import Progress
from stoker.settings import CacheSettings, QueueSettings
from tests.races.guards.reading import judging
from tests.support.notes import SCHEMA, MemberRemoved, NoteChanged, NoteDeleted, Notes, note

T = TypeVar("T")
NEVER_S = 3600
NOTES, READERS = (1, 2), (1, 2, 3)
VIEWS = ("detail", "summary")
NOTE, READER, VIEW = st.sampled_from(NOTES), st.sampled_from(READERS), st.sampled_from(VIEWS)
PROCESS = st.sampled_from((0, 1))
QUIET = {"watch_s": NEVER_S, "breaker_retry_s": NEVER_S, "stats_flush_s": NEVER_S, "timeout_s": 10}

COMMON = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))
settings.register_profile("short", COMMON, max_examples=20, stateful_step_count=20, derandomize=True)
settings.register_profile("long", COMMON, max_examples=1000, stateful_step_count=60, derandomize=False)


class LoaderError(Exception):
    """A loader that fails."""


class Ground:
    """Two processes on one database and one cache; every example begins by emptying both."""

    def __init__(self, servers: Embedded, database_url: str, prefix: str) -> None:
        self.servers = servers
        self.notes = Notes()
        self._runner = asyncio.Runner()
        given: Settings = load_settings(
            database_url=database_url,
            redis_url=servers.urls.queue,
            cache_redis_url=servers.urls.cache,
            cache=CacheSettings.model_validate({"prefix": prefix, **QUIET}),
            queue=QueueSettings(prefix=prefix),
        )
        self._prefix = prefix
        self.redis: Any = Redis.from_url(servers.urls.cache)
        self.stokers = [self.wait(Stoker.open(given, self.notes.domain)) for _ in range(2)]
        for statement in SCHEMA:
            self.sql(statement)

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Let the processes go on until this is done."""
        return self._runner.run(work)

    def sql(self, statement: str, event: Event | None = None, **values: object) -> list[Any]:
        """One statement and its event, in one transaction."""

        async def work() -> list[Any]:
            async with self.stokers[0].session() as session:
                found: Any = await session.execute(text(statement), values)
                rows = list(found.all()) if found.returns_rows else []
                if event is not None:
                    self.stokers[0].record(session, event)
                await session.commit()
            return rows

        return self.wait(work())

    def keys(self) -> list[bytes]:
        """All keys of these processes in the cache."""

        async def work() -> list[bytes]:
            return [key async for key in self.redis.scan_iter(match=f"{self._prefix}.*")]

        return self.wait(work())

    def flush(self) -> None:
        """Empty the cache."""
        keys = self.keys()
        if keys:
            self.wait(self.redis.unlink(*keys))

    def dump(self) -> dict[bytes, bytes]:
        """The cache as a snapshot file would have it."""
        return {key: self.wait(self.redis.dump(key)) for key in self.keys()}

    def restart(self, values: dict[bytes, bytes]) -> None:
        """The server goes away and comes back with these keys only."""
        self.servers.cache.restart()
        self.wait(self.redis.connection_pool.disconnect())
        self.flush()
        for key, dumped in values.items():
            self.wait(self.redis.restore(key, 0, dumped, replace=True))

    def close(self) -> None:
        """End both processes."""
        for stoker in self.stokers:
            self.wait(stoker.close())
        self.wait(self.redis.aclose())
        self._runner.close()


class Machine(RuleBasedStateMachine):
    """`applied[what]` counts the versions of a note, or of its members, that no read may fall behind."""

    ground: ClassVar[Ground]

    @initialize()
    def empty(self) -> None:
        self.ground.sql("TRUNCATE notes, note_members, stoker.cache_events")
        self.ground.flush()
        self.ground.notes.failing.clear()
        self.versions: dict[Any, list[Any]] = {}
        self.applied: dict[Any, int] = {}
        self.applied_hard: dict[Any, int] = {}
        self.pending_hard: dict[Any, int] = {}
        self.snapshot: dict[bytes, bytes] | None = None
        notes = "INSERT INTO notes SELECT id, id || ':' FROM unnest(CAST(:ids AS bigint[])) id"
        self.ground.sql(notes, ids=list(NOTES))
        everybody = "INSERT INTO note_members SELECT id, r FROM notes, unnest(CAST(:readers AS bigint[])) r"
        self.ground.sql(everybody, readers=list(READERS))
        for number in NOTES:
            self.versions[number] = [f"{number}:"]
            self.versions["members", number] = [frozenset(READERS)]
        self.apply()

    # What writers do

    @rule(number=NOTE, hard=st.booleans())
    def change(self, number: int, *, hard: bool) -> None:
        body = self.versions[number][-1] + "+"
        members = tuple(sorted(self.versions["members", number][-1]))
        event = (NoteDeleted if hard else NoteChanged)(note_id=number, readers=members)
        self.ground.sql("UPDATE notes SET body = :body WHERE id = :id", event, body=body, id=number)
        self.versions[number].append(body)
        if hard:
            self.pending_hard[number] = len(self.versions[number]) - 1

    @rule(number=NOTE, reader=READER)
    def remove_member(self, number: int, reader: int) -> None:
        event = MemberRemoved(note_id=number, reader_id=reader)
        statement = "DELETE FROM note_members WHERE note_id = :id AND reader_id = :reader"
        self.ground.sql(statement, event, id=number, reader=reader)
        self._members(number, self.versions["members", number][-1] - {reader})

    @rule(number=NOTE, reader=READER)
    def add_member(self, number: int, reader: int) -> None:
        event = MemberRemoved(note_id=number, reader_id=reader)  # means: read this membership again
        statement = "INSERT INTO note_members VALUES (:id, :reader) ON CONFLICT DO NOTHING"
        self.ground.sql(statement, event, id=number, reader=reader)
        self._members(number, self.versions["members", number][-1] | {reader})

    @rule()
    def apply(self) -> None:
        self.ground.wait(apply_all(self.ground.stokers[0]))
        self.applied = {what: len(versions) - 1 for what, versions in self.versions.items()}
        self.applied_hard |= self.pending_hard
        self.pending_hard = {}

    # What readers and workers do

    @rule(process=PROCESS, view=VIEW, number=NOTE, reader=READER)
    def read(self, process: int, view: str, number: int, reader: int) -> None:
        self._read(process, view, number, reader)

    @rule(process=PROCESS, view=VIEW, number=NOTE, reader=READER)
    def read_while_loaders_fail(self, process: int, view: str, number: int, reader: int) -> None:
        self.ground.notes.failing[view] = LoaderError()
        with suppress(LoaderError):
            self._read(process, view, number, reader)
        self.ground.notes.failing.clear()

    @rule(number=NOTE, view=VIEW)
    def refresh(self, number: int, view: str) -> None:
        with suppress(Defer):
            self._task(Refresh(view=view, scope_id=str(number)))

    @rule()
    def warm(self) -> None:
        self._task(Warm(target="active"))

    # What happens to the cache

    @rule(number=NOTE, view=st.sampled_from((*VIEWS, "access")), what=st.sampled_from((0, 1, 2, 3)))
    def evict(self, number: int, view: str, what: int) -> None:
        """A stamp, a hard stamp, an entry, or a lease."""
        names = self.ground.stokers[0].cache.store.keys.entry(EntryKey(view, note(number)))
        self.ground.wait(self.ground.redis.unlink(str(names[what])))

    @rule()
    def flush(self) -> None:
        self.ground.flush()

    @rule()
    def restart(self) -> None:
        self.ground.restart({})

    @rule()
    def save(self) -> None:
        self.snapshot = self.ground.dump()

    @precondition(lambda self: self.snapshot is not None)
    @rule()
    def roll_back(self) -> None:
        """An old snapshot comes back, as after a failover, under a new run id."""
        assert self.snapshot is not None
        self.ground.restart(self.snapshot)

    @invariant()
    def nobody_has_left_the_cache(self) -> None:
        for stoker in self.ground.stokers:
            assert not stoker.cache.breaker.open, stoker.cache.breaker.reason

    def teardown(self) -> None:
        """At rest, everybody is shown what SQL says."""
        if not getattr(self, "applied", None):
            return  # it did not come to its beginning
        self.apply()
        for process, view, number in product((0, 1), VIEWS, NOTES):
            self._read(process, view, number, reader=READERS[process])

    def _members(self, number: int, members: frozenset[int]) -> None:
        self.versions["members", number].append(members)
        self.pending_hard[number] = len(self.versions[number]) - 1

    def _read(self, process: int, view: str, number: int, reader: int) -> None:
        let = [reader in members for members in self._since_applied("members", number)]
        try:
            reading = self.ground.wait(self.ground.stokers[process].read(view, number, reader=reader))
        except Forbidden:
            assert not all(let), f"{reader} was refused note {number}"
            return
        assert any(let), f"{reader} was shown note {number} after the removal was applied"
        stale = reading.state is State.STALE
        assert not stale or view in self.ground.notes.failing
        floor = self.applied_hard.get(number, 0) if stale else self.applied[number]
        allowed = self.versions[number][floor:]
        shown = reading.value["body"] if view == "detail" else reading.value["length"]
        right = allowed if view == "detail" else [len(body) for body in allowed]
        assert shown in right, (
            f"{view} of note {number} shows {shown!r} ({reading.state}), not one of {right}"
        )

    def _since_applied(self, what: str, number: int) -> list[frozenset[int]]:
        return self.versions[what, number][self.applied[what, number] :]

    def _task(self, job: Refresh | Warm) -> None:
        stoker = self.ground.stokers[1]
        context = JobContext(stoker, Progress(stoker.queue.redis, stoker.settings.queue), "job")
        self.ground.wait(run(context, job))


@pytest.fixture
def ground(servers: Embedded, database_url: str, prefix: str) -> Iterator[Ground]:
    ground = Ground(servers, database_url, prefix)
    yield ground
    ground.close()


def test_no_sequence_shows_what_sql_no_longer_says(ground: Ground) -> None:
    Machine.ground = ground
    run_state_machine_as_test(
        Machine, settings=settings.get_profile(os.environ.get("HYPOTHESIS_PROFILE", "short"))
    )


def test_a_read_that_compares_no_stamps_is_found(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine can fail: without the guard of every read it does."""
    judging(stamps=False)(monkeypatch)
    Machine.ground = ground
    quick = settings(settings.get_profile("short"), phases=[Phase.generate], print_blob=False)
    with pytest.raises(AssertionError, match="not one of"):
        run_state_machine_as_test(Machine, settings=quick)
