"""Warming: building many entries before anybody asks for them.

The domain's warm plan says which, most urgent first. Entries that are valid and young are left alone, so
warming twice costs two looks. Overtaken builds are left to the next read (RACES 18).
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from jobs.cache.accounting import recently_read
from jobs.cache.view import EntryKey
from jobs.connections import database_errors
from jobs.contracts import KeepWarm, Outcome, Warm
from jobs.tasks.context import TaskContext

BATCH = 50
"""Entries built in one transaction: about the statements of one dashboard, a few milliseconds each."""
HOT_KEPT_WARM = 2000
"""Recently read entries that one run of keep-warm looks at."""


async def warm(context: TaskContext, job: Warm) -> Outcome:
    """Build what is missing or ageing for a target, in the order of its plan."""
    stoker = context.stoker
    plan = stoker.domain.warm_plan(job.target)
    scope = None if job.scope_id is None else stoker.domain.scope(job.target, job.scope_id)
    with database_errors():
        async with stoker.session() as session:
            keys = await plan.entries(session, scope)
    await _fill(context, list(dict.fromkeys(keys)))
    return Outcome.DONE


async def keep_warm(context: TaskContext, _job: KeepWarm) -> Outcome:
    """Rebuild entries that are read and about to expire: a hot 5-minute dashboard is never cold."""
    stoker = context.stoker
    store = stoker.cache.store
    ttl_s = {view.name: stoker.ttl(view.name).total_seconds() for view in stoker.domain.views}
    recent = await recently_read(store.client, store.keys, max(ttl_s.values()), HOT_KEPT_WARM)
    now = time.time()
    # Read within its own TTL: what nobody read for that long may expire.
    await _fill(context, [key for key, at in recent if now - at < ttl_s.get(key.view, 0)])
    return Outcome.DONE


async def _fill(context: TaskContext, keys: Sequence[EntryKey]) -> None:
    await context.report(0, len(keys))
    for start in range(0, len(keys), BATCH):
        await context.stoker.cache.filler.fill_many(keys[start : start + BATCH])
        await context.report(min(start + BATCH, len(keys)), len(keys))
