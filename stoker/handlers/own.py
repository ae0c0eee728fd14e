"""Runs the application's own jobs: its handlers, in the loop or in a thread, with its middleware around them.

Keeps results as JSON. Whatever a handler raises goes to the engine, which retries or buries the job.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from inspect import isawaitable
from typing import Any

from pydantic_core import PydanticSerializationError, from_json, to_json

from stoker.cache.declared import is_async
from stoker.domain import Domain
from stoker.errors import InvalidResult, LifespanFailed
from stoker.handled import Around, Handler
from stoker.handlers.context import JobContext
from stoker.handlers.threads import Threads
from stoker.jobs import Job, Outcome
from stoker.postgres.errors import without_parameters
from stoker.stoker import Stoker

LARGEST_RESULT = 1_000_000
"""Bytes of JSON."""


class OwnJobs:
    """The handlers of a domain, in one worker process."""

    def __init__(self, domain: Domain) -> None:
        self._handlers: dict[type[Job], tuple[Handler, bool]] = {}
        """By job: its handler, and whether calling that gives something to await."""
        for job, handler in domain.handlers.items():
            self.add([job], handler)
        self._around = domain.around
        self._lifespan = domain.lifespan
        self._threads = Threads()
        self.resources: Any = None

    @asynccontextmanager
    async def opened(self, stoker: Stoker) -> AsyncIterator[None]:
        """Opens the domain's `lifespan`. At the end, threads that still run are not waited for.

        Raises LifespanFailed where that raises by itself.
        """
        if self._lifespan is None:
            yield
            return
        with _failing("at its start: no job was claimed"):
            lifespan = self._lifespan(stoker)
            self.resources = await lifespan.__aenter__()
        try:
            yield
        except BaseException as error:
            await lifespan.__aexit__(type(error), error, error.__traceback__)
            raise
        with _failing("at its end, after the last job"):
            await lifespan.__aexit__(None, None, None)

    def add(self, jobs: Iterable[type[Job]], handler: Handler) -> None:
        """Run these jobs, too."""
        self._handlers.update(dict.fromkeys(jobs, (handler, is_async(handler))))

    def stuck(self) -> list[str]:
        """The reasons why only a restart helps; callable from any thread."""
        return self._threads.stuck()

    async def run(self, context: JobContext, job: Job) -> Outcome:
        """Run a job's handler and keep its result; raises what it raises, or InvalidResult."""
        if job.followed:
            await context.report(0, 0)  # callers that wait for the job see its end, too
        call: Callable[[], Awaitable[Any]] = partial(self._call, context, job)
        for around in reversed(self._around):
            call = partial(_through, around, context, job, call)
        found = await call()
        if job.keep_result is not None:
            await context.progress.keep_result(context.job_id, _json(found, job), job.keep_result)
        return Outcome.DONE

    async def _call(self, context: JobContext, job: Job) -> Any:  # noqa: ANN401 - the handler's result
        handler, awaits = self._handlers[type(job)]
        if awaits:
            return await handler(context, job)
        found = await self._threads.call(handler, context, job, kind=job.kind, job_id=context.job_id)
        # A plain function that calls an async one returns an awaitable.
        return await found if isawaitable(found) else found


@contextmanager
def _failing(when: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        said = (
            f"the domain's lifespan failed {when}: {type(error).__name__}: {without_parameters(str(error))}"
        )
        raise LifespanFailed(said) from error


async def _through(around: Around, context: JobContext, job: Job, call: Callable[[], Awaitable[Any]]) -> Any:  # noqa: ANN401 - the same
    return await around(context, job, call)


def _json(found: Any, job: Job) -> bytes:  # noqa: ANN401 - whatever the handler returned
    try:
        kept = to_json(found, inf_nan_mode="constants")
        if b"NaN" in kept or b"Infinity" in kept:
            from_json(kept, allow_inf_nan=False)
    except (PydanticSerializationError, ValueError) as error:
        raise InvalidResult(f"{job.kind}: what the handler returned is no JSON: {error}") from None
    if len(kept) > LARGEST_RESULT:
        raise InvalidResult(
            f"{job.kind}: the result has {len(kept):,} bytes of JSON, over {LARGEST_RESULT:,}"
        )
    return kept
