"""Warming: builds many entries before they are read.

The domain's warm plan says which, most urgent first. Entries that are valid and young are left alone, so
warming twice only checks them twice. Overtaken builds are left to the next read (RACES 18).

A long warming gives way: if other jobs wait after its turn, it goes to the end of its lane and continues from
there later. So a warming of 5,000 entries does not delay one of five.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

from stoker.cache.reads import hottest
from stoker.cache.view import EntryKey
from stoker.errors import Defer, QueueUnavailable
from stoker.handlers.builds import build, with_guard
from stoker.handlers.context import JobContext
from stoker.handlers.demand import in_demand
from stoker.jobs import KeepWarm, Lane, Outcome, Warm
from stoker.postgres import database_errors
from stoker.prediction.contest import DEFAULT
from stoker.stoker import Stoker
from stoker.warming import rows

BATCH = 50
"""Entries built in one transaction: about the statements of one dashboard, a few milliseconds each."""
TURN = 5 * BATCH
"""Entries that a warming builds before it checks whether other jobs wait."""
HOT_KEPT_WARM = 2000
"""Entries that one run of keep-warm checks: those that are read most."""


async def warm(context: JobContext, job: Warm) -> Outcome:
    """Build the entries of a target that are missing or due for a refresh, in the order of its plan."""
    stoker = context.stoker
    if job.unless_predicted and await _is_predicted(stoker):
        return Outcome.LEFT
    plan = stoker.domain.warm_plan(job.target)
    scope = None if job.scope_id is None else stoker.domain.scope(job.target, job.scope_id)
    with database_errors():
        async with stoker.session() as session:
            keys = list(dict.fromkeys(await plan.entries(session, scope)))
    # The plan may have changed since the last turn: an entry that has moved before the mark is built by its
    # next reader.
    begin = await _left_off(context)
    async for done in _fill(context, keys, begin):
        if done - begin >= TURN and done < len(keys) and await _gives_way(context, done):
            raise Defer(timedelta(0))
    return Outcome.DONE


async def keep_warm(context: JobContext, _job: KeepWarm) -> Outcome:
    """Rebuild entries in demand that are about to expire: a hot 5-minute dashboard is never cold."""
    stoker = context.stoker
    if await _is_predicted(stoker):
        return Outcome.LEFT
    store = stoker.cache.store
    read = [key for key, _ in await hottest(store.client, store.keys, HOT_KEPT_WARM)]
    hot = [one for key in read if stoker.domain.takes(key) for one in with_guard(stoker.domain, key)]
    async for _ in _fill(context, await in_demand(stoker, list(dict.fromkeys(hot)))):
        pass
    return Outcome.DONE


async def _is_predicted(stoker: Stoker) -> bool:
    """Whether prediction warms now, within its budget, what the schedule would warm without one."""
    return await rows.in_force(stoker.engine) != DEFAULT


async def _fill(context: JobContext, keys: Sequence[EntryKey], begin: int = 0) -> AsyncIterator[int]:
    """Build entries from `begin` on; how far it is, after each batch. Raises only if none can be built."""
    failed: dict[EntryKey, Exception] = {}
    gone = 0
    await context.report(min(begin, len(keys)), len(keys))
    for start in range(begin, len(keys), BATCH):
        built = await build(context.stoker.cache.filler, keys[start : start + BATCH])
        failed |= {key: one for key, one in built.items() if isinstance(one, Exception)}
        gone += sum(one is Outcome.GONE for one in built.values())
        done = min(start + BATCH, len(keys))
        # Entries of rows that SQL does not have are not counted: nothing was warmed for them.
        await context.report(done - gone, len(keys) - gone)
        yield done
    if failed and len(failed) == len(keys) - begin:
        raise next(iter(failed.values()))  # nothing at all could be built: not an entry's fault


async def _left_off(context: JobContext) -> int:
    try:
        return await context.progress.left_off(context.job_id)
    except QueueUnavailable:
        return 0  # from the beginning: what is built already is only checked


async def _gives_way(context: JobContext, done: int) -> bool:
    try:
        if not await context.stoker.queue.waits(Lane.WARM):
            return False
        await context.progress.leave_off(context.job_id, done)
    except QueueUnavailable:
        return False
    return True
