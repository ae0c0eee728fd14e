"""Invalidation for writers that have no SQL transaction to record an event in."""

from __future__ import annotations

from stoker.handlers.context import JobContext
from stoker.jobs import Invalidate, Outcome
from stoker.rules import Invalidation


async def invalidate(context: JobContext, job: Invalidate) -> Outcome:
    """Unlink the stamps. Idempotent; retried until the cache acknowledges it."""
    scope = context.stoker.domain.scope(job.scope_kind, job.scope_id)
    await context.stoker.unlink([Invalidation(scope, frozenset(job.views), job.hard)])
    return Outcome.DONE
