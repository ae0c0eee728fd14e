"""A stepped store of rows in SQL's place: versions, snapshots, and the outbox with its locks.

Commits are serial; a loader's transaction sees the version at which its snapshot opened; the relay's sees
what is committed at each statement. Uncommitted work is invisible, so only commits, snapshots, claims and
reads are steps.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self

from pydantic_core import to_json
from sqlalchemy.ext.asyncio import AsyncEngine

from stoker import EntryKey, Event
from stoker.cache.breaker import Unsettled
from stoker.cache.detached import Detached
from stoker.cache.loads import Loads
from stoker.cache.view import Bodies, View
from stoker.outbox.rows import Alike, Waited
from stoker.outbox.scopes import encode
from stoker.settings import ChangesSettings
from stoker.silence import Silence
from tests.explore.domain import DOMAIN, HARD, State, rows_of
from tests.explore.stage import STRAND, Stage

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class LoaderError(Exception):
    """A loader that fails."""


@dataclass(eq=False)
class Recorded:
    """An event in the outbox.

    `name`: the same in every order; `version`: the one that its commit made; `applied_at`: a step, in time.
    """

    row: Alike
    """Each alone: folding by what they say is Postgres' own work."""
    name: str
    version: int
    hard: bool
    recorded_at: int
    holder: Transaction | None = None
    settled: bool = False
    applied_at: int | None = None


class Rows:
    """All versions of all rows, and the outbox."""

    def __init__(self, stage: Stage, first: State) -> None:
        self.stage = stage
        self.versions: list[State] = [first]
        self.committed_at: list[int] = [-1]
        self.events: list[Recorded] = []
        self.transactions: dict[str, Transaction] = {}
        self.failing: frozenset[str] = frozenset()
        self.watched = False
        self._names: Counter[str] = Counter()

    @property
    def latest(self) -> State:
        """What is committed."""
        return self.versions[-1]

    async def commit(
        self, change: Callable[[State], State] | None, event: Event | None, touched: str
    ) -> None:
        """One transaction: rows and the event that says so. Either may be missing only where a guard is."""
        rule = DOMAIN.rules_by_kind[event.kind] if event is not None else None
        name = self._next_name(STRAND.get().actor.name)
        scopes = to_json(encode(rule.invalidates(event), DOMAIN) if rule is not None else []).decode()

        def perform() -> str:
            now = len(self.stage.trace)
            if change is not None:
                self.versions.append(change(self.latest))
                self.committed_at.append(now)
            if event is not None:
                row = Alike(event.kind, scopes, event.model_dump_json(), 0, None, (len(self.events) + 1,))
                hard = isinstance(event, HARD)
                self.events.append(Recorded(row, name, len(self.versions) - 1, hard, now))
            return f"version {len(self.versions) - 1}"

        footprint = {touched: "w"}
        if event is not None:
            footprint |= {"outbox": "a", name: "w"}
        if self.watched:
            footprint["applied"] = "r"
        await self.stage.ask(f"COMMIT {touched} {event!r}", footprint, perform)

    async def select(self, what: str, touched: Mapping[str, str]) -> State:
        """What is committed now."""
        return await self.stage.ask(what, touched, lambda: self.latest)  # type: ignore[no-any-return]

    async def unsettled(self) -> Unsettled:
        """What a breaker asks. Time is counted in steps."""

        def perform() -> Unsettled:
            waiting = [one.recorded_at for one in self.events if not one.settled]
            self.touched()
            at = EPOCH + timedelta(microseconds=len(self.stage.trace))
            return Unsettled(at, EPOCH + timedelta(microseconds=min(waiting)) if waiting else None)

        return await self.stage.ask("SELECT unsettled", {"outbox": "w"}, perform)  # type: ignore[no-any-return]

    def touched(self, taken: Sequence[Recorded] = ()) -> None:
        """The current step read the whole outbox and took these rows."""
        self.stage.only_read("outbox")
        self.stage.also_touched({one.name: "w" if one in taken else "r" for one in self.events})

    def mark(self, events: Sequence[Recorded]) -> None:
        """From this step on, no read may show what was before these events."""
        news = [event for event in events if event.applied_at is None]
        for event in news:
            event.applied_at = len(self.stage.trace)
        if not news:
            self.stage.untouched("applied")

    def _next_name(self, actor: str) -> str:
        self._names[actor] += 1
        return f"event:{actor}:{self._names[actor]}"


class Snapshot:
    """A loader's session: one version, whatever is committed meanwhile."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    async def snapshot(self, keys: Sequence[EntryKey]) -> State:
        """Open the snapshot at the first statement, then read it.

        Reading commutes with all that others do, but in a process of several others may find it under way.
        """
        touched: dict[str, str] = {}
        for key in keys:
            touched |= rows_of(key)
        names = ", ".join(map(str, keys))
        state = await self._rows.select(f"SNAPSHOT for {names}", touched)
        if STRAND.get().actor.shared:
            await self._rows.stage.ask(f"SELECT {names}", {}, lambda: None)
        return state


class SteppedLoads(Loads):
    """The protocol's own loads, with the rows in SQL's place."""

    def __init__(self, engine: AsyncEngine, rows: Rows, detached: Detached, cap: int) -> None:
        super().__init__(engine, detached, Silence(math.inf), cap=cap, limit=timedelta(seconds=1))
        self._rows = rows

    async def _in_snapshot(self, view: View, keys: Sequence[EntryKey]) -> Bodies:
        if STRAND.get().actor.process in self._rows.failing:
            raise LoaderError(f"{view.name} cannot be built")
        return view.bodies(keys, await view.load(Snapshot(self._rows), keys))  # type: ignore[arg-type]


class Engine:
    """The application's engine."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def begin(self) -> Transaction:
        """A transaction of the relay."""
        return Transaction(self._rows)


class Transaction:
    """A relay's transaction: it holds the rows that it claimed until its end."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.claimed: list[Recorded] = []
        self._settled: set[int] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if isinstance(error, Exception):
                await self.rows.stage.ask("ROLLBACK", self._held(), self.release)
            elif error is None and self.claimed:
                footprint = {**self._held(), "applied": "a"}
                await self.rows.stage.ask("COMMIT settled", footprint, self._commit)
        finally:
            self.release()  # killed: Postgres rolls back in the killer's own step

    async def claim(self) -> list[Alike]:
        """FOR UPDATE SKIP LOCKED."""

        def perform() -> list[Alike]:
            self.claimed = [one for one in self.rows.events if not one.settled and one.holder is None]
            for one in self.claimed:
                one.holder = self
            self.rows.touched(self.claimed)
            return [one.row for one in self.claimed]

        self.rows.transactions[STRAND.get().actor.name] = self
        return await self.rows.stage.ask("CLAIM events", {"outbox": "w"}, perform)  # type: ignore[no-any-return]

    def settle(self, ids: Sequence[int]) -> None:
        """Settled once this commits."""
        self._settled |= set(ids)

    async def members(self, notes: Sequence[int]) -> set[int]:
        """Readers of notes, as committed now."""
        touched = {f"members:{one}": "r" for one in notes}
        state = await self.rows.select(f"SELECT members of {notes}", touched)
        return {one for number in notes for one in state.members.get(number, ())}

    def release(self) -> None:
        """Give the rows back."""
        for one in self.claimed:
            if one.holder is self:
                one.holder = None

    def _held(self) -> dict[str, str]:
        return {one.name: "w" for one in self.claimed}

    def _commit(self) -> str:
        done = [one for one in self.claimed if self._settled.issuperset(one.row.ids)]
        for one in done:
            one.settled = True
        self.rows.mark(done)
        self.release()
        self.claimed = []
        return f"events {sorted(self._settled)}"


class RelaySession:
    """Stands for the AsyncSession in which the relay asks the rules."""

    def __init__(self, bind: Transaction, join_transaction_mode: str) -> None:
        self.members = bind.members

    def begin_nested(self) -> AbstractAsyncContextManager[None]:
        """A savepoint: what a rule reads changes nothing."""
        return nullcontext()

    async def close(self) -> None:
        """Nothing to close."""


class Outbox:
    """Stands for stoker.outbox.rows as the relay uses it."""

    @staticmethod
    async def claim(
        connection: Transaction, _settings: ChangesSettings, _asking: Collection[str]
    ) -> Sequence[Alike]:
        """Lock what is due."""
        return await connection.claim()

    @staticmethod
    async def note_scopes(_connection: Transaction, told: Mapping[int, str]) -> None:
        """Nothing: no trigger records here, so no event is without its scopes."""
        assert not told

    @staticmethod
    async def settle(connection: Transaction, ids: Sequence[int], _by: str = "") -> list[Waited]:
        """Part of the transaction: seen when it commits."""
        connection.settle(ids)
        return []  # how long the events had waited: there is no time here

    @staticmethod
    async def postpone(
        _connection: Transaction, failed: Mapping[int, Any], _settings: ChangesSettings
    ) -> None:
        """No rule fails here."""
        assert not failed, failed
