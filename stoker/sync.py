"""Stoker for synchronous code: threads of gunicorn, uWSGI or Django, and scripts.

A process has one event loop, in a thread of its own, which any number of threads use. It begins with the
first call, so an object that is made at import may be forked before. A process that is forked after it was
used opens its own at its next call: nothing is shared with the parent. uWSGI cannot fork a
process that has a thread, so calls are refused before it forks.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Self, TypeVar
from weakref import WeakSet

from sqlalchemy.orm import Session, scoped_session

from stoker.cache.direct import DirectReads
from stoker.cache.lookup import Asked, Params
from stoker.cache.reading import Reading
from stoker.cache.view import View
from stoker.domain import Domain, load_domain
from stoker.errors import StokerError
from stoker.jobs import Job
from stoker.loop_thread import LoopThread, refuse_before_uwsgi_forks, refuse_in_a_loop
from stoker.outbox.pending import Recorded
from stoker.outbox.receipt import Applied, Receipt
from stoker.parts import Parts
from stoker.postgres import database_errors
from stoker.queue.answers import CancelAnswer, Enqueued
from stoker.queue.batches import Batch
from stoker.queue.progress import ProgressReport
from stoker.revocation import take_effect
from stoker.rules import Event, Invalidation
from stoker.settings import Settings, load_settings
from stoker.stoker import Stoker

T = TypeVar("T")
SyncSession = Session | scoped_session[Any]
_all: WeakSet[SyncStoker] = WeakSet()
_abandoned: list[object] = []
"""What a forked process has of its parent's; kept, so that nothing of it is closed here."""


class Opened(NamedTuple):
    """What a process has open. `pid`: which process."""

    pid: int
    loop: LoopThread
    parts: Parts
    stoker: Stoker
    direct: DirectReads


class SyncReceipt:
    """What `record` and `record_on` return: follows one event to the cache."""

    def __init__(self, stoker: SyncStoker, recorded: Recorded | None, receipt: Receipt) -> None:
        self._stoker = stoker
        self._recorded = recorded
        self._receipt = receipt

    @property
    def event_id(self) -> int:
        """The event's id; raises StokerError until its transaction is known to have committed."""
        return self._receipt.event_id

    def applied(self, timeout: timedelta = timedelta(seconds=2)) -> Applied:
        """Wait until the change is in effect for every reader; see Receipt.applied."""
        return self._stoker.call(lambda _: self._receipt.applied(timeout))

    def take_effect(self) -> None:
        """After the commit of a right's removal: return when nobody is shown anything by it any more.

        As `commit_revocation`, for a transaction that somebody else commits, such as Django's. Raises
        CommittedNotApplied; StokerError before the commit.
        """
        _ = self.event_id
        self._stoker.take_effect([self._recorded] if self._recorded is not None else [])


class SyncStoker:
    """Everything of one process, for any of its threads. Opens itself at the first call.

    `settings` and `domain` as for Stoker.open, which says what opening raises. Each call raises what the same
    call of Stoker does. In a thread that runs an event loop it raises StokerError: `await` Stoker there.
    """

    def __init__(self, settings: Settings | None = None, domain: Domain | None = None) -> None:
        self._settings = settings
        self._domain = domain
        self._locks: dict[int, threading.Lock] = {}
        self._opened: Opened | None = None
        _all.add(self)

    def open(self) -> None:
        """Connect now, not at the first call."""
        self._open()

    def close(self) -> None:
        """Close everything; the end of the process does it, too. A later call opens it again."""
        refuse_in_a_loop("SyncStoker.close")
        with self._lock():
            self._leave_to_parent()
            opened, self._opened = self._opened, None
            if opened is not None:
                opened.direct.close()
                try:
                    opened.loop.call(opened.stoker.close())
                finally:
                    opened.loop.stop()

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(
        self,
        view: str | View,
        scope_id: object,
        params: Params = None,
        *,
        within: object = None,
        reader: object = None,
        bypass: bool = False,
    ) -> Reading:
        """Read one entry; see Stoker.read."""
        refuse_in_a_loop("SyncStoker.read")
        if not bypass:
            direct = self._open().direct
            if (reading := direct.hit(view, scope_id, params, within, reader)) is not None:
                return reading
        return self.call(
            lambda stoker: stoker.read(view, scope_id, params, within=within, reader=reader, bypass=bypass)
        )

    def read_many(self, asked: Sequence[Asked], *, reader: object = None) -> list[Reading | StokerError]:
        """Read many entries; see Stoker.read_many."""
        return self.call(lambda stoker: stoker.read_many(asked, reader=reader))

    def record(self, session: SyncSession, event: Event) -> SyncReceipt:
        """Record an event in the transaction of a Session or scoped_session; see Stoker.record."""
        return SyncReceipt(self, *self._open().parts.outbox.recorded(session, event))

    def applied(self, session: SyncSession) -> SyncReceipt:
        """Follow all that the session's transaction records, by captures too; see Stoker.applied."""
        return SyncReceipt(self, None, self._open().parts.outbox.follow(session))

    def record_on(self, connection: Any, event: Event) -> SyncReceipt:  # noqa: ANN401 - of any driver
        """Record an event in the transaction of a DB-API connection: `django.db.connection`, or psycopg's.

        The row is written at once, by one statement. The worker hears of the commit from Django (its
        `on_commit`); of other connections' commits it learns within a second.

        Raises StokerError where each statement commits by itself, WrongServer for another database,
        DeclarationError as `record` does, and what the driver raises.
        """
        return SyncReceipt(self, *self._open().parts.outbox.record_on(connection, event))

    def commit_revocation(self, session: SyncSession) -> None:
        """Commit a session that takes a right away; see Stoker.commit_revocation."""
        refuse_in_a_loop("SyncStoker.commit_revocation")
        events = self._open().parts.outbox.recorded_in_sync(session)
        with database_errors():
            session.commit()
        self.take_effect(events)

    def take_effect(self, events: Sequence[Recorded]) -> None:
        """Put committed events into effect; see SyncReceipt.take_effect."""
        parts = self._open().parts
        self.call(lambda stoker: take_effect(parts, events, stoker.unlink))

    def invalidate_now(self, invalidations: Iterable[Invalidation]) -> None:
        """Unlink stamps here and now; see Stoker.invalidate_now."""
        self.call(lambda stoker: stoker.invalidate_now(invalidations))

    def enqueue(self, job: Job, *, delay: timedelta = timedelta(0), at: datetime | None = None) -> Enqueued:
        """Ask the worker for a job; see Stoker.enqueue."""
        return self.call(lambda stoker: stoker.enqueue(job, delay=delay, at=at))

    def enqueue_many(
        self, jobs: Sequence[Job], *, delay: timedelta = timedelta(0), at: datetime | None = None
    ) -> list[Enqueued]:
        """Ask for many jobs; see Stoker.enqueue_many."""
        return self.call(lambda stoker: stoker.enqueue_many(jobs, delay=delay, at=at))

    def enqueue_batch(
        self,
        jobs: Sequence[Job],
        *,
        then: Job | None = None,
        batch_id: str | None = None,
        delay: timedelta = timedelta(0),
        at: datetime | None = None,
    ) -> Batch:
        """Enqueue jobs that are counted as they end; see Stoker.enqueue_batch."""
        return self.call(
            lambda stoker: stoker.enqueue_batch(jobs, then=then, batch_id=batch_id, delay=delay, at=at)
        )

    def batch(self, batch_id: str) -> Batch | None:
        """How many jobs of a batch have ended how; see Stoker.batch."""
        return self.call(lambda stoker: stoker.batch(batch_id))

    def enqueue_in(
        self,
        session: SyncSession,
        job: Job,
        *,
        delay: timedelta = timedelta(0),
        at: datetime | None = None,
    ) -> str:
        """Ask for a job in the session's transaction; see Stoker.enqueue_in."""
        return self._open().stoker.enqueue_in(session, job, delay=delay, at=at)

    def result(self, job_id: str, timeout: timedelta = timedelta(seconds=30)) -> Any:  # noqa: ANN401 - JSON
        """What the handler of a job returned; see Stoker.result."""
        return self.call(lambda stoker: stoker.result(job_id, timeout))

    def progress(self, job_id: str) -> ProgressReport | None:
        """The last word about a job; see Stoker.progress."""
        return self.call(lambda stoker: stoker.progress(job_id))

    def cancel(self, job_id: str) -> CancelAnswer:
        """End a job for good; see Stoker.cancel."""
        return self.call(lambda stoker: stoker.cancel(job_id))

    def vitals(self) -> dict[str, float]:
        """Figures that only this process knows; see Stoker.vitals."""
        return self._open().stoker.vitals()

    def ttl(self, view: str | View) -> timedelta:
        """The TTL in force for a view."""
        return self._open().stoker.ttl(view)

    def call(self, work: Callable[[Stoker], Coroutine[Any, Any, T]]) -> T:
        """Run what a function makes of this process's Stoker, in its event loop, and wait for the result."""
        refuse_in_a_loop("SyncStoker")
        opened = self._open()
        return opened.loop.call(work(opened.stoker))

    def _open(self) -> Opened:
        opened = self._opened
        if opened is not None and opened.pid == os.getpid():
            return opened
        refuse_in_a_loop("SyncStoker")
        refuse_before_uwsgi_forks()
        with self._lock():
            self._leave_to_parent()
            if self._opened is None:
                settings = self._settings or load_settings()
                domain = self._domain or load_domain(settings.domain)
                loop = LoopThread("stoker")
                try:
                    parts = loop.call(Parts.open(settings, domain, None))
                except BaseException:
                    loop.stop()
                    raise
                direct = DirectReads(parts.cache, loop)
                self._opened = Opened(os.getpid(), loop, parts, Stoker(parts), direct)
            return self._opened

    def _lock(self) -> threading.Lock:
        """One for each process: a thread that is not in this one may hold the parent's."""
        return self._locks.setdefault(os.getpid(), threading.Lock())

    def _leave_to_parent(self) -> None:
        """Forget what the parent has open.

        Called right after a fork, and again by what comes first: uWSGI forks without telling Python.
        """
        if self._opened is not None and self._opened.pid != os.getpid():
            _abandoned.append(self._opened)
            self._opened.loop.abandon()
            self._opened = None


def _forked() -> None:
    for one in list(_all):
        one._leave_to_parent()  # noqa: SLF001 - of this module


def _close_all() -> None:
    for one in list(_all):
        with suppress(Exception):  # the process ends, and each part logs what it could not do
            one.close()


os.register_at_fork(after_in_child=_forked)
atexit.register(_close_all)
