"""An event loop without time or sockets: nothing runs unless the explorer lets it run.

Coroutines run until each waits for a step that it asked for (a command, a statement, a sleep); the explorer
then decides whose step is next. A thread is an asyncio task, named by who created it, so that the same task
has the same name in every run. Each actor's clock moves only while that actor sleeps.
"""

from __future__ import annotations

import asyncio
import contextvars
from asyncio.events import _set_running_loop
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any

from tests.explore.search import Footprint, Thread


@dataclass(eq=False)
class Actor:
    """An actor in a process.

    `shared`: with others in the same process; `late`: they may go on between a reply and its reader.
    `mortal`: may be killed. `touching` says what else its next step touches; `before` and `after` are told of
    every step, `asleep` of every sleep.
    """

    name: str
    process: str
    shared: bool = False
    late: bool = False
    mortal: bool = False
    clock_s: float = 0.0
    tokens: int = 0
    touching: Callable[[object], Footprint] | None = None
    before: Callable[[], None] | None = None
    after: Callable[[object, object], None] | None = None
    asleep: Callable[[], None] | None = None
    task: asyncio.Task[Any] | None = None


@dataclass(eq=False)
class Strand:
    """One task of an actor."""

    thread: Thread
    actor: Actor
    children: int = 0


WAKES = "goes on"
STRAND: ContextVar[Strand] = ContextVar("strand")


@dataclass(eq=False)
class Op:
    """A step that somebody waits for."""

    strand: Strand
    what: object
    footprint: Footprint
    perform: Callable[[], Any]
    future: asyncio.Future[Any] | None


@dataclass(frozen=True)
class Done:
    """A step that was done, for the trace."""

    actor: str
    what: object
    result: object = None


class Stage(asyncio.BaseEventLoop):
    """The event loop of one run."""

    def __init__(self) -> None:
        super().__init__()
        self.trace: list[Done] = []
        self.errors: list[str] = []
        self._soon: deque[asyncio.Handle] = deque()
        self._waiting: dict[Thread, Op] = {}
        self._touched: dict[str, str] = {}
        self._outer: asyncio.AbstractEventLoop | None = None
        self.tasks: list[tuple[Strand, asyncio.Task[Any]]] = []
        self._ended = False

    # What the explorer does

    def pending(self) -> dict[Thread, Footprint]:
        """Every thread that waits for a step, and what the step touches."""
        return {thread: op.footprint for thread, op in self._waiting.items()}

    def step(self, thread: Thread) -> Footprint:
        """Do the step and let its thread run to the next one; what the step touched."""
        op = self._waiting.pop(thread)
        actor = op.strand.actor
        self._touched = touched = dict(op.footprint)
        if actor.before is not None:
            actor.before()
        try:
            result: object = op.perform()
            error: Exception | None = None
        except AssertionError:
            raise
        except Exception as raised:  # noqa: BLE001 - whatever the step answers goes to who asked for it
            result, error = raised, raised
        self.trace.append(Done(actor.name, op.what, result))
        if actor.after is not None:
            actor.after(op.what, result)
        future = op.future
        if future is not None and actor.late:
            footprint = {f"memory:{actor.process}": "w"}
            waking = partial(_answer, future, result, error)
            self._waiting[thread] = Op(op.strand, WAKES, footprint, waking, None)
        elif future is not None:
            _answer(future, result, error)
        self.drain()
        return touched

    def drain(self) -> None:
        """Let everybody run until each waits for a step."""
        soon = self._soon
        while soon:
            handle = soon.popleft()
            if not handle.cancelled():
                handle._run()

    def to_end(self, work: Coroutine[Any, Any, Any], actor: Actor) -> Any:  # noqa: ANN401 - of the coroutine
        """Do something by itself, one step after the other."""
        task = self.act(work, actor)
        self.drain()
        while not task.done():
            assert self._waiting, f"{actor.name} waits for nothing"
            self.step(next(iter(self._waiting)))
        return task.result()

    def act(self, work: Coroutine[Any, Any, Any], actor: Actor) -> asyncio.Task[Any]:
        """Let an actor begin."""
        context = contextvars.copy_context()
        strand = Strand((actor.name,), actor)
        context.run(STRAND.set, strand)
        actor.task = asyncio.Task(work, loop=self, context=context)
        self.tasks.append((strand, actor.task))
        return actor.task

    def kill(self, name: str) -> None:
        """End an actor where it stands."""
        for thread, op in list(self._waiting.items()):
            if op.strand.actor.name == name:
                del self._waiting[thread]
        for strand, task in self.tasks:
            if strand.actor.name == name:
                task.cancel()

    def unfinished(self) -> list[str]:
        """Who has not come to an end."""
        return [strand.actor.name for strand, task in self.tasks if not task.done()]

    def enter(self) -> None:
        """Be the running loop."""
        self._outer = asyncio._get_running_loop()
        _set_running_loop(self)

    def leave(self) -> None:
        """End everything and give the thread back."""
        self._ended = True
        for _, task in self.tasks:
            task.cancel()
        self._waiting.clear()
        self.drain()
        _set_running_loop(self._outer)
        self.close()

    # What the actors' code does

    def only_read(self, *resources: str) -> None:
        """The step under way changed nothing of what it might have changed."""
        for resource in resources:
            if self._touched.get(resource) == "w":
                self._touched[resource] = "r"

    def also_touched(self, more: Footprint) -> None:
        """What the step under way touched was not known before."""
        self._touched |= more

    def untouched(self, *resources: str) -> None:
        """The step under way neither changed these nor depends on them."""
        for resource in resources:
            self._touched.pop(resource, None)

    async def ask(self, what: object, footprint: Footprint, perform: Callable[[], Any]) -> Any:  # noqa: ANN401
        """Ask for a step and wait until it is done."""
        if self._ended:
            raise asyncio.CancelledError
        strand = STRAND.get()
        actor = strand.actor
        more = dict(actor.touching(what)) if actor.touching is not None else {}
        if actor.mortal:
            more[f"life:{actor.name}"] = "r"
        if actor.shared and not actor.late:
            more[f"memory:{actor.process}"] = "w"
        if more:
            footprint = {**more, **footprint}
        future: asyncio.Future[Any] = self.create_future()
        assert strand.thread not in self._waiting
        self._waiting[strand.thread] = Op(strand, what, footprint, perform, future)
        return await future

    def create_task(  # type: ignore[override] # one signature of several
        self, coro: Coroutine[Any, Any, Any], *, name: object = None, context: Context | None = None
    ) -> asyncio.Task[Any]:
        """Name the task after its creator."""
        creator = STRAND.get()
        creator.children += 1
        context = context or contextvars.copy_context()
        strand = Strand((*creator.thread, creator.children), creator.actor)
        context.run(STRAND.set, strand)
        task = asyncio.Task(coro, loop=self, context=context)
        self.tasks.append((strand, task))
        return task

    def call_soon(
        self,
        callback: Callable[..., object],
        *args: object,
        context: Context | None = None,
    ) -> asyncio.Handle:
        """Run it before the next step."""
        handle = asyncio.Handle(callback, args, self, context)
        self._soon.append(handle)
        return handle

    def call_later(
        self,
        delay: float,
        callback: Callable[..., object],
        *args: object,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """A sleep may take any time, so it is over at once: the sleeper's next step can still be late.

        What the sleeper does first may depend on others of its process: there, waking is a step.
        """
        handle = asyncio.TimerHandle(delay, callback, args, self, context)
        strand = STRAND.get()
        actor = strand.actor

        def wake() -> None:
            actor.clock_s += delay
            if not handle.cancelled():
                handle._run()

        self.trace.append(Done(actor.name, f"sleeps {delay:g} s"))
        if actor.asleep is not None:
            actor.asleep()
        if actor.shared:
            self._waiting[strand.thread] = Op(strand, WAKES, {f"memory:{actor.process}": "w"}, wake, None)
        else:
            self.call_soon(wake)
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        del handle  # its sleeper is done with it

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep what nobody awaited."""
        self.errors.append(f"{context.get('message')}: {context.get('exception')!r}")


def _answer(future: asyncio.Future[Any], result: object, error: Exception | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
