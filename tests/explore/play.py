"""One run of a case, step by step, and what is checked when all are done."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from pydantic_core import from_json

from stoker import EntryKey, Forbidden, NotFound, Reading, State, StokerError
from tests.explore.actors import Actors
from tests.explore.domain import DOMAIN
from tests.explore.ground import OBSERVER, Ground, names_of
from tests.explore.promises import Read, Shown
from tests.explore.rows import LoaderError
from tests.explore.search import Footprint, Thread, Violation
from tests.explore.stage import Actor
from tests.explore.watch import guard_of

AT_REST = "reader at rest"


class Play(Actors):
    """The search's Run of a case. It is the running event loop until it is abandoned."""

    def __init__(self, ground: Ground) -> None:
        super().__init__(ground)
        self._begun = False
        self._steps = 0
        self.stage.enter()
        self.server.reset(ground.values, ground.ages_us)
        self.server.losing_script, self.server.lossy = self.case.losing, self.case.lossy

    def pending(self) -> dict[Thread, Footprint]:
        """What each thread would do next; the actors begin with the first question."""
        if not self._begun:
            self._begun = True
            self.case.play(self)
            self.stage.drain()
        return self.stage.pending()

    def step(self, thread: Thread) -> Footprint:
        """One step, from the tape while this run repeats the last one; raises the Violation it led to."""
        if not self._begun:
            self.pending()
        tape, at = self.ground.tape, self._steps
        self._steps += 1
        if at < len(tape) and tape[at][0] != thread:
            del tape[at:]
        self.server.begin(tape[at][1] if at < len(tape) else None)
        touched = self.stage.step(thread)
        taped = self.server.end()
        if at == len(tape):
            tape.append((thread, taped))
        self._nothing_broken()
        return touched

    def finish(self) -> None:
        """All actors are done, or stuck: check what is kept, let a sweeper run, check and read again."""
        stuck = self.stage.unfinished()
        if stuck:
            raise Violation(f"{', '.join(stuck)}: waiting for ever")
        self._no_errors()
        self.server.down = self.server.full = False
        self.time.real_s = max(self.time.real_s, self.server.excused_until_s)
        self.server.mirrored = True  # what it holds is known: a check need not ask
        self.rows.failing = frozenset()
        self._check_what_is_kept(rest=False)
        self.ground.outcomes.add(tuple(sorted(self.watch.noted)))
        if not all(event.settled for event in self.rows.events):
            self._do("sweeper", "worker", self.apply())
        if not all(event.settled for event in self.rows.events):
            raise Violation("an event is not settled, though the sweeper has run")
        if not self._check_what_is_kept(rest=True):
            self._read_twice()
        self._no_errors()
        self._nothing_broken()

    def abandon(self) -> None:
        """End whatever still goes on."""
        self.stage.leave()

    def set_up(self, setup: Callable[[Play], Awaitable[None]]) -> None:
        """Do what comes before, and remember how things stand for the runs to come."""

        async def work() -> None:
            await setup(self)

        self._do("setup", OBSERVER, work())
        self.stage.drain()
        self._no_errors()
        self._nothing_broken()
        ground = self.ground
        ground.first, ground.values, ground.ages_us = (
            self.rows.latest,
            self.server.values,
            self.server.ages_us,
        )
        ground.near = {
            name: list(one.store.lookup.near._kept.items()) for name, one in self.processes.items()
        }

    def _do(self, name: str, process: str, work: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401 - of the work
        """Let somebody do something while nobody else does anything."""
        actor = Actor(name, process)
        self.watch.follow(actor)
        return self.stage.to_end(work, actor)

    def _check_what_is_kept(self, *, rest: bool) -> bool:
        """Whether the first of these entries and its access entry are valid in the cache."""
        hit = True
        first = self.case.rest[0]
        needed = (first, guard_of(first, self._within(first)))
        for name, process in self.processes.items():
            if name != OBSERVER and not rest:
                continue
            names = [names_of(process.store, key) for key in self.case.rest]
            for key, one in zip(
                self.case.rest, _at_once(process.store.lookup.fetch(tuple(names))), strict=True
            ):
                if one.miss is None:
                    where = "the cache" if name == OBSERVER else name
                    self.watch.noted.append(f"{where} {key} {one.content.body!r}")
                    self.watch.promises.kept(where, key, from_json(one.content.body), rest=rest)
                elif key in needed:
                    hit = False
        return hit

    def _read_twice(self) -> None:
        """At rest a reader is shown the rows, and the next one finds it in the cache."""
        name, key = self.case.processes[0], self.case.rest[0]
        self.processes[name].cache.breaker.open = False
        self._read_at_rest(name, key)
        state = self._read_at_rest(name, key)
        if state not in (None, State.HIT):
            raise Violation(f"at rest, a second read of {key} is no hit but a {state}")

    def _read_at_rest(self, name: str, key: EntryKey) -> State | None:
        within = self._within(key)
        read = Read(AT_REST, name, key, 1, guard_of(key, within), len(self.stage.trace), within)
        reading = self.processes[name].cache.read(key.view, key.scope.id, None, within, reader=read.reader)
        try:
            answer: Reading = self._do(AT_REST, name, reading)
            shown = Shown(answer.state, answer.value)
        except (NotFound, Forbidden) as error:
            shown = Shown(raised=type(error).__name__)
        self.watch.ends(read, shown)
        self._nothing_broken()
        return shown.state

    def _within(self, key: EntryKey) -> int | None:
        """The folder that an entry lies in now, where it is read within one."""
        return self.rows.latest.lies_in[key.scope.number] if DOMAIN.view(key.view).parent else None

    def _no_errors(self) -> None:
        for strand, task in self.stage.tasks:
            if not task.done() or task.cancelled() or strand.actor.name == AT_REST:
                continue
            error = task.exception()
            # A load's own error goes to its waiters; an error that reaches an actor is a fault.
            known = isinstance(error, LoaderError | StokerError) and len(strand.thread) > 1
            if error is not None and not known:
                raise Violation(f"{strand.actor.name} failed: {error!r}")
        if self.stage.errors:
            raise Violation("; ".join(self.stage.errors))

    def _nothing_broken(self) -> None:
        if self.watch.violation is not None:
            raise self.watch.violation


def _at_once(work: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401 - of the coroutine
    """The result of what has nothing to wait for."""
    try:
        work.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits for a step")
