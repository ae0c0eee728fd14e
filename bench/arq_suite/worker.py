"""arq's Worker for arq's tests: its interface, with Stoker's engine in the place of arq's loop.

What belongs to arq's loop and is not called by Stoker raises NotOurs: a test must not pass by arq's own code.
"""

from __future__ import annotations

import asyncio
import inspect
import pickle
from collections.abc import Sequence
from typing import Any, NoReturn

from arq.connections import create_pool
from arq.worker import Worker

from stoker import Domain, Stoker, load_settings
from stoker.arq.application import ArqApplication
from stoker.worker.arq.part import ArqPart
from stoker.worker.arq.state import State
from stoker.worker.process import run_worker

driven: list[SuiteWorker] = []
"""Every worker that the running test has run, stopped, or asked for a method of arq's own loop."""
database_url = ""
"""Postgres, once the plugin has started it."""


class NotOurs(NotImplementedError):
    """The test calls a method of arq's own loop."""


class SuiteWorker(Worker):
    """One worker of the suite. arq's pickles are read: the suite is an application that consents."""

    def __init__(self, functions: Sequence[Any] = (), **options: Any) -> None:  # noqa: ANN401 - arq's options
        self._state = State({})
        self._stop, self._now = asyncio.Event(), asyncio.Event()
        super().__init__(functions, **options)
        self._given = options
        self._state.ctx = self.ctx

    async def main(self) -> None:
        """Run Stoker's worker until its burst is over."""
        driven.append(self)
        if self._pool is None:
            self._pool = await create_pool(
                self.redis_settings,
                job_serializer=self.job_serializer,
                job_deserializer=self.job_deserializer,
                default_queue_name=self.queue_name,
            )
        kwargs = self._pool.connection_pool.connection_kwargs
        settings = load_settings(
            database_url=database_url,
            redis_url=f"redis://{kwargs['host']}:{kwargs['port']}/0",
            worker={"stop_deadline_s": self._job_completion_wait or 0.01},
        )
        application = self._application()
        domain = Domain(name="suite", scopes=(), views=(), rules=(), schedule=(), arq=application.options)
        self._stop.clear()
        async with Stoker.opened(settings, domain) as stoker:
            part = ArqPart(application, settings, burst=self.burst)
            self._state.burst = self.burst
            part.state = self._state
            await run_worker(stoker, settings, self._stop, self._now, arq=part)

    def _application(self) -> ArqApplication:
        options = {name: one for name, one in self._given.items() if not name.startswith("redis_")}
        options["functions"] = [one for one in self.functions.values() if one not in self.cron_jobs]
        for name in ("queue_name", "max_burst_jobs", "retry_jobs"):
            options[name] = getattr(self, name)
        if self.job_serializer is None:
            options |= {"job_serializer": pickle.dumps, "job_deserializer": pickle.loads}
        options["ctx"] = self.ctx
        return ArqApplication.of(options)

    async def close(self) -> None:
        """Give the connections back; `on_shutdown` was called when `main` ended."""
        self._stop.set()
        self._now.set()
        if self._pool is not None:
            await self._pool.close(close_connection_pool=True)
            self._pool = None

    def handle_sig(self, *_: object) -> None:
        """Stop at once, as a second SIGTERM does."""
        driven.append(self)
        self._stop.set()
        self._now.set()

    def handle_sig_wait_for_completion(self, *_: object) -> None:
        """Stop in order, as SIGTERM does."""
        driven.append(self)
        self.allow_pick_jobs = False
        self._stop.set()

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        driven.append(self)
        raise NotOurs("Stoker's engine has no such method")

    _poll_iteration = start_jobs = run_job = heart_beat = run_cron = record_health = _refuse
    finish_job = finish_failed_job = _cancel_aborted_jobs = _refuse


def _counter(name: str) -> Any:  # noqa: ANN401 - a property
    def get(self: SuiteWorker) -> Any:  # noqa: ANN401 - a counter, or the jobs that run
        return getattr(self._state, name)

    return property(get, lambda *_: None)


SuiteWorker.jobs_complete = _counter("complete")
SuiteWorker.jobs_failed = _counter("failed")
SuiteWorker.jobs_retried = _counter("retried")
SuiteWorker.tasks = _counter("calls")
SuiteWorker.__signature__ = inspect.signature(Worker)  # type: ignore[attr-defined]
