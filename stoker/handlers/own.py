"""Runs the application's own jobs: its handlers, in the loop or in a thread, with its middleware around them.

Keeps results as JSON. Whatever a handler raises goes to the engine, which retries or buries the job.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from contextvars import copy_context
from functools import partial
from typing import Any

from pydantic_core import PydanticSerializationError, to_json

from stoker.cache.declared import is_async
from stoker.domain import Around, Domain, Handler
from stoker.errors import InvalidResult
from stoker.handlers.context import JobContext
from stoker.jobs import Job, Outcome
from stoker.stoker import Stoker

logger = logging.getLogger(__name__)

THREADS = 16
"""Plain functions that run at once in one worker process; more wait for a thread."""
LARGEST_RESULT = 1_000_000
"""Bytes of JSON."""


class OwnJobs:
    """The handlers of a domain, in one worker process."""

    def __init__(self, domain: Domain) -> None:
        self._handlers: Mapping[type[Job], Handler] = domain.handlers
        self._around = domain.around
        self._lifespan = domain.lifespan
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="stoker-job")
        self.resources: Any = None

    @asynccontextmanager
    async def opened(self, stoker: Stoker) -> AsyncIterator[None]:
        """With what the domain's `lifespan` makes; threads that still run at the end are not waited for."""
        try:
            if self._lifespan is None:
                yield
                return
            async with self._lifespan(stoker) as self.resources:
                yield
        finally:
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def run(self, context: JobContext, job: Job) -> Outcome:
        """Run a job's handler and keep its result; raises what it raises, or InvalidResult."""
        if job.followed:
            await context.report(0, 0)  # whoever waits for it is told of its end, too
        call: Callable[[], Awaitable[Any]] = partial(self._call, context, job)
        for around in reversed(self._around):
            call = partial(_through, around, context, job, call)
        found = await call()
        if job.keep_result is not None:
            await context.progress.keep_result(context.job_id, _json(found, job), job.keep_result)
        return Outcome.DONE

    async def _call(self, context: JobContext, job: Job) -> Any:  # noqa: ANN401 - the handler's result
        handler = self._handlers[type(job)]
        if is_async(handler):
            return await handler(context, job)
        loop, here = asyncio.get_running_loop(), copy_context()
        running = loop.run_in_executor(self._threads, here.run, handler, context, job)
        try:
            return await running
        except asyncio.CancelledError:
            # A thread cannot be ended: the job has its verdict, the function goes on until it returns.
            logger.warning("job.thread_left_behind", extra={"kind": job.kind, "job_id": context.job_id})
            raise


async def _through(around: Around, context: JobContext, job: Job, call: Callable[[], Awaitable[Any]]) -> Any:  # noqa: ANN401 - the same
    return await around(context, job, call)


def _json(found: Any, job: Job) -> bytes:  # noqa: ANN401 - whatever the handler returned
    try:
        kept = to_json(found, inf_nan_mode="constants")
    except (PydanticSerializationError, ValueError) as error:
        raise InvalidResult(f"{job.kind}: what the handler returned is no JSON: {error}") from None
    if len(kept) > LARGEST_RESULT:
        raise InvalidResult(
            f"{job.kind}: the result has {len(kept):,} bytes of JSON, over {LARGEST_RESULT:,}"
        )
    return kept
