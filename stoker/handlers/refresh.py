"""Rebuilds one entry, because it is read often or was asked for."""

from __future__ import annotations

from datetime import timedelta

from stoker.cache.fill import BuiltBy
from stoker.cache.view import EntryKey
from stoker.errors import Defer
from stoker.handlers.builds import build_access_of_parents
from stoker.handlers.context import JobContext
from stoker.jobs import Outcome, Refresh

CHECK_AGAIN = timedelta(milliseconds=250)


async def refresh(context: JobContext, job: Refresh) -> Outcome:
    """Build the entry unless it is valid and young.

    A refresh that finds another build under way is deferred, not dropped: that build may have read before the
    change that asked for this one (RACES 26). A refresh that a change has overtaken runs again (RACES 18).
    The access entry of the parent that the entry lies within is built, too: the entry may have moved to it.
    """
    domain = context.stoker.domain
    view = domain.view(job.view)
    key = EntryKey(view.name, domain.scope(view.scope, job.scope_id), job.params)
    if not domain.takes(key):
        return Outcome.GONE  # asked for by a release that knows other parameters
    filler = context.stoker.cache.filler
    outcome = (await filler.fill_many([key], BuiltBy.REFRESH))[key]
    if outcome in (Outcome.ALREADY_BUILDING, Outcome.SUPERSEDED):
        raise Defer(CHECK_AGAIN)
    if outcome in (Outcome.STORED, Outcome.FRESH):
        guards = await build_access_of_parents(filler, [key], BuiltBy.REFRESH)
        # Many entries share it: while another build of it is under way, that is left to whoever builds it.
        if Outcome.SUPERSEDED in guards.values():
            raise Defer(CHECK_AGAIN)
    return outcome
