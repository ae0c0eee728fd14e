"""An event loop in a thread of its own, for code that has none: other threads hand it work and wait.

A fork copies neither the thread nor what it was doing. In the child, `abandon` cuts what is left of the loop
off its file descriptors, which belong to the parent.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import selectors
import sys
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from stoker.errors import StokerError

T = TypeVar("T")
STOP_S = 5.0
"""How long `stop` waits for the thread."""
CANCEL_S = 2.0
"""How long the thread waits for the calls that it cancels when it ends."""
LOOK_S = 1.0
"""How long a caller waits before Python handles a signal that came just before the wait, and before it looks
whether there is still a loop."""


class LoopThread:
    """A running event loop. Safe to use from many threads."""

    def __init__(self, name: str) -> None:
        self._selector = selectors.DefaultSelector()
        self._loop = asyncio.SelectorEventLoop(self._selector)
        self._ending = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the loop and wait for its result, in the caller's context.

        Raises StokerError if the loop ends before.
        """
        done, ended = threading.Lock(), []
        done.acquire()
        context = contextvars.copy_context()

        def end(task: asyncio.Task[T]) -> None:
            ended.append(task)
            done.release()

        def begin() -> None:
            if self._ending:
                done.release()
                return
            begun.append(self._loop.create_task(work, context=context))
            begun[0].add_done_callback(end)

        begun: list[asyncio.Task[T]] = []

        def cancel() -> None:
            if begun:
                begun[0].cancel()
            else:
                work.close()

        try:
            waiting = self.soon(begin)
            # A lock costs a third of what a Future that is waited for from another thread does. A signal that
            # comes just before the wait does not end it: Python handles it when the wait is over.
            while waiting and not done.acquire(timeout=LOOK_S):
                waiting = not self._loop.is_closed()
        except BaseException:  # a signal, such as the one by which a web server ends a request that hangs
            self.soon(cancel)
            raise
        if not ended or ended[0].cancelled():
            if not begun:
                work.close()
            raise StokerError("SyncStoker was closed, or its process ends, while this call waited")
        found: T = ended[0].result()
        return found

    def soon(self, what: Callable[[], None]) -> bool:
        """Run a function in the loop, without waiting for it; False if the loop has ended."""
        try:
            self._loop.call_soon_threadsafe(what)
        except RuntimeError:
            return False
        return True

    def stop(self) -> None:
        """End the loop and its thread. Who waits for a call is told by a StokerError."""
        self.soon(self._end)
        self._thread.join(STOP_S)

    def _end(self) -> None:
        self._ending = True
        self._loop.stop()

    def _run(self) -> None:
        while not self._ending:
            with suppress(
                SystemExit, KeyboardInterrupt
            ):  # of a call: its caller gets it, and the loop goes on
                self._loop.run_forever()
        with suppress(SystemExit, KeyboardInterrupt):
            self._loop.run_until_complete(_cancel_all())
        self._loop.close()

    def abandon(self) -> None:
        """In a child process: keep what is left of the loop from touching the parent's connections.

        Parent and child share the epoll that the selector has open: of what the child would unregister there,
        the parent would hear no more.
        """
        self._selector.close()
        self._selector.__init__()  # type: ignore[misc] # empty: nothing is registered in this one


async def _cancel_all() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for one in others:
        one.cancel()
    if others:
        await asyncio.wait(others, timeout=CANCEL_S)


def refuse_in_a_loop(what: str) -> None:
    """Raise StokerError where the calling thread runs an event loop, which waiting would bring to a stop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise StokerError(
        f"{what} was called in a thread that runs an event loop, which would stand still meanwhile: use "
        "`await` with Stoker there, or call it by asyncio.to_thread"
    )


def refuse_before_uwsgi_forks() -> None:
    """Raise StokerError in a process of uWSGI that loads the application and then forks its workers.

    uWSGI forks without telling Python. If a thread waits for the GIL at that moment, the worker waits for
    that thread for ever, because it does not have it.
    """
    uwsgi: Any = sys.modules.get("uwsgi")  # which only uWSGI itself has
    if uwsgi is None or uwsgi.worker_id() != 0:
        return
    master = uwsgi.masterpid()
    if master == os.getpid() or (master == 0 and uwsgi.numproc > 1):
        raise StokerError(
            "SyncStoker was called while uWSGI loads the application, before it forks: its workers would "
            "hang. Call it while a request is served, or start uWSGI with --lazy-apps"
        )
