"""A domain's declarations about its own jobs: handlers, middleware, lifespan."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from stoker.cache.declared import check_async, check_called, check_one_value, check_unique
from stoker.errors import DeclarationError
from stoker.jobs import JOBS, Job

Handler = Callable[[Any, Any], Any]
"""Runs a job: takes a JobContext and the job, returns the result. An error that it raises fails the job."""
Around = Callable[[Any, Any, Callable[[], Awaitable[Any]]], Awaitable[Any]]
Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]


def check_handlers(handlers: object, lanes: Sequence[str]) -> None:
    """Refuse a handler that could never run its job."""
    if not isinstance(handlers, Mapping):
        raise DeclarationError(f"handlers must map job classes to functions, not be {handlers!r:.80}")
    for job, handler in handlers.items():
        _check_job(job, lanes)
        what = f"the handler of {job.__name__}"
        check_called(handler, what, "context", "job")
        check_one_value(handler, what)
    check_unique("job kind", [job.kind for job in handlers])


def check_around(around: object) -> None:
    """Refuse middleware that cannot be called around a handler."""
    if not isinstance(around, tuple | list):
        raise DeclarationError(f"around must be a tuple of async functions, not {around!r:.80}")
    for one in around:
        what = f"`around`: {getattr(one, '__name__', one)!r:.60}"
        check_one_value(one, what)
        check_async(one, what, "context", "job", "call")


def check_lifespan(lifespan: object) -> None:
    """Refuse a lifespan that a worker could not open."""
    if lifespan is None:
        return
    check_called(lifespan, "lifespan", "stoker")
    if inspect.isasyncgenfunction(lifespan) or inspect.iscoroutinefunction(lifespan):
        raise DeclarationError("lifespan must be an async context manager: put @asynccontextmanager above it")


def _check_job(job: type[Job], lanes: Sequence[str]) -> None:
    if not (isinstance(job, type) and issubclass(job, Job) and hasattr(job, "kind")):
        raise DeclarationError(f"handlers go by a subclass of Job with a `kind`, not by {job!r:.60}")
    name = job.__name__
    if job.kind in JOBS:
        raise DeclarationError(f"job {name}: {job.kind!r} is one of Stoker's own: choose another kind")
    if job.lane not in lanes:
        known = ", ".join(lanes) or "none"
        raise DeclarationError(
            f"job {name}: the domain declares no lane {job.lane!r:.60}; there are: {known}. Add "
            f'Lane("{job.lane:.32}") to `lanes`'
        )
