"""The verbs that cases are written with: who reads, writes, applies, warms; what happens to the server."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import stoker.handlers.relay
from stoker import Asked, EntryKey, Event, Forbidden, NotFound, Reading, Refresh
from stoker.cache.batch import read_many
from stoker.errors import CacheUnavailable, Defer
from stoker.handlers.refresh import refresh
from tests.explore import terms
from tests.explore.domain import DOMAIN, State
from tests.explore.ground import Ground, Process
from tests.explore.promises import Read, Shown
from tests.explore.rows import LoaderError, Rows
from tests.explore.search import Footprint
from tests.explore.stage import Actor, Stage
from tests.explore.watch import Watch, guard_of

Happening = tuple[str, Footprint, Callable[[], object]]
"""What is seen in the trace, what it touches, and how it is done."""
RAISED = (NotFound, Forbidden, LoaderError)
DEFERRED_AT_MOST = 2


class Actors:
    """Everybody in one run."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.case = ground.case
        self.server = ground.server
        self.stage = Stage()
        self.time = terms.Time(self.stage, self.case.term_ms or 0)
        terms.OF_THE_RUN.set(self.time)
        self.server.now_s = lambda: self.time.real_s
        self.rows = Rows(self.stage, ground.first)
        self.rows.failing, self.rows.watched = self.case.failing, self.case.guarded
        self.watch = Watch(
            self.rows,
            self.server,
            ground.leases,
            restarts=self.case.restarts,
            terms=self.case.term_ms is not None,
        )
        self.processes = {
            name: Process(ground, name, self.time, self.rows, self._asked_refresh) for name in ground.stores
        }
        self._refreshes = 0

    def act(self, name: str, process: str, work: Coroutine[Any, Any, Any], *, mortal: bool = False) -> None:
        """Start an actor."""
        shared = process in self.case.shared
        actor = Actor(name, process, shared, late=process in self.case.late, mortal=mortal)
        self.watch.follow(actor)
        self.stage.act(work, actor)

    def reads(self, name: str, process: str, view: str, *, times: int = 1, **how: Any) -> None:  # noqa: ANN401
        """A reader; see `read`."""

        async def work() -> None:
            for _ in range(times):
                await self.read(name, process, view, **how)

        self.act(name, process, work())

    async def read(  # noqa: PLR0913 - what a read takes
        self,
        name: str,
        process: str,
        view: str,
        *,
        of: int = 1,
        reader: int = 1,
        within: int | None = None,
        bypass: bool = False,
    ) -> None:
        """One read, judged by what is promised of it."""
        key = DOMAIN.key(view, of)
        read = Read(name, process, key, reader, guard_of(key, within), within=within)
        self.watch.begins(read)
        await self._reads_memory_of(process, "begins to read")
        try:
            cache = self.processes[process].cache
            reading = await cache.read(view, of, None, within, reader=reader, bypass=bypass)
            shown = Shown(reading.state, reading.value)
        except RAISED as error:
            shown = Shown(raised=type(error).__name__)
        self.watch.ends(read, shown)

    def reads_many(self, name: str, process: str, asked: Sequence[tuple[str, int]], reader: int = 1) -> None:
        """A reader of many entries at once."""

        async def work() -> None:
            keys = [DOMAIN.key(view, of) for view, of in asked]
            reads = [Read(name, process, key, reader, guard_of(key)) for key in keys]
            self.watch.begins(reads[0])
            await self._reads_memory_of(process, "begins to read")
            cache = self.processes[process].cache
            answers = await read_many(cache, [Asked(*one) for one in asked], reader=reader)
            for read, answer in zip(reads, answers, strict=True):
                read.begun = reads[0].begun
                if isinstance(answer, Reading):
                    self.watch.ends(read, Shown(answer.state, answer.value))
                else:
                    self.watch.ends(read, Shown(raised=type(answer).__name__))

        self.act(name, process, work())

    def writes(
        self,
        name: str,
        change: Callable[[State], State],
        event: Event | Callable[[State], Event],
        touched: str,
        *,
        relay: str | None = None,
        mortal: bool = False,
    ) -> None:
        """A writer; after its commit, a relay begins. What an event says may have to be read first."""

        async def work() -> None:
            told = event
            if not isinstance(told, Event):
                members = touched.replace("notes", "members")
                told = told(await self.rows.select(f"SELECT {members}", {members: "r"}))
            await self.rows.commit(change, told, touched)
            if relay is not None:
                self.relays(relay, mortal=mortal)

        self.act(name, "app", work())

    async def apply(self) -> None:
        """What a relay does."""
        await stoker.handlers.relay.apply_all(self.processes["worker"].stoker)

    def relays(self, name: str, *, mortal: bool = False) -> None:
        """A relay."""

        async def work() -> None:
            try:
                await self.apply()
            except CacheUnavailable:
                return  # nothing is settled: another relay will

        self.act(name, "relay", work(), mortal=mortal)

    def fills(self, name: str, process: str, *keys: EntryKey) -> None:
        """A warm job."""

        async def work() -> None:
            await self._reads_memory_of(process, "begins to warm")
            try:
                await self.processes[process].cache.filler.fill_many(keys)
            except (CacheUnavailable, LoaderError):
                return

        self.act(name, process, work())

    def refreshes(self, name: str, key: EntryKey, process: str = "worker") -> None:
        """A refresh job, run again when it asks for it."""

        async def work() -> None:
            await self._reads_memory_of(process, "begins to refresh")
            job = Refresh(view=key.view, scope_id=key.scope.id)
            for _ in range(DEFERRED_AT_MOST):
                try:
                    await refresh(self.processes[process].context, job)
                except Defer:
                    continue
                except (CacheUnavailable, LoaderError):
                    return
                return

        self.act(name, process, work())

    def checks(self, name: str, process: str) -> None:
        """The breaker's loop of a process, once."""

        async def work() -> None:
            await self._reads_memory_of(process, "checks")
            await self.processes[process].cache.breaker.check()

        self.act(name, process, work())

    def happens(self, name: str, *happenings: Happening) -> None:
        """Things that happen to the server, in this order."""

        async def work() -> None:
            for what, touched, perform in happenings:
                await self.stage.ask(what, touched, perform)

        self.act(name, name, work())

    def passes(self, *seconds: float) -> None:
        """Time passes: whoever is not done is stopped for so long."""

        async def work() -> None:
            for one in seconds:
                await self.time.passes(one)

        self.act("time", "time", work())

    def sets_back(self, seconds: float) -> None:
        """Somebody sets the wall clocks back."""
        self.act("operator", "operator", self.time.set_back(seconds))

    def learns(self, name: str, process: str) -> None:
        """A reader's loop that learns the term, once."""
        self.act(name, process, self.processes[process].term.learn())

    def sets_term(self, name: str, term_ms: int, *waits_s: float) -> None:
        """A worker that starts with another term, and looks again after so many seconds."""

        async def work() -> None:
            used = self.processes["worker"].store.lookup.terms
            term = terms.SteppedTerm(self.time, used, term_ms)
            await term.keep()
            for one in waits_s:
                await self.time.sleep(one)
                await term.keep()

        self.act(name, "setter", work())

    def unlinks(self, name: str, change: Callable[[State], State], event: Event, touched: str) -> None:
        """A writer that puts its change into effect itself, without a worker."""

        async def work() -> None:
            await self.rows.commit(change, event, touched)
            found = DOMAIN.rules_by_kind[event.kind].invalidates(event)
            await stoker.Stoker.unlink(self.processes["worker"].stoker, found)
            mine = [one for one in self.rows.events if one.row.payload == event.model_dump_json()]
            await self.stage.ask("RETURNS", {"applied": "a"}, lambda: self.rows.mark(mine))

        self.act(name, "app", work())

    def kills(self, actor: str) -> None:
        """SIGKILL to whoever runs an actor; a sweeper elsewhere goes on with what is left."""

        async def work() -> None:
            def perform() -> None:
                held = self.rows.transactions[actor].claimed if actor in self.rows.transactions else []
                self.stage.also_touched({one.name: "w" for one in held})
                self.stage.kill(actor)

            await self.stage.ask(f"SIGKILL {actor}", {f"life:{actor}": "w", "outbox": "w"}, perform)
            self.relays("sweeper")

        self.act("killer", "killer", work())

    def _asked_refresh(self, key: EntryKey) -> None:
        # At most one refresh a run, as the queue coalesces them.
        self._refreshes += 1
        if self._refreshes == 1:
            self.refreshes("refresh", key)

    async def _reads_memory_of(self, process: str, what: str) -> None:
        # In a process with several actors, reading the process's memory is a step of its own. Where there are
        # terms, a read may have no other.
        if process in self.case.shared:
            await self.stage.ask(what, {f"memory:{process}": "w"}, lambda: None)
        elif self.case.term_ms is not None:
            await self.stage.ask(what, {}, lambda: None)
