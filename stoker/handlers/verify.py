"""The verifier: compares samples of the cache with SQL, and tells a stale entry from a recent change.

Recently read and recently invalidated entries come first, because a mistake would show there. A stale entry
is logged, counted and invalidated; the promise is that there is none.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby

from pydantic_core import from_json
from sqlalchemy import select

from stoker.cache.loads import Loaded
from stoker.cache.lookup import Found
from stoker.cache.reads import recently_read
from stoker.cache.verdicts import Verdict, publish
from stoker.cache.view import EntryKey
from stoker.handlers.context import JobContext
from stoker.jobs import Outcome, Verify
from stoker.outbox.rows import unsettled
from stoker.outbox.scopes import decode
from stoker.postgres import database_errors
from stoker.stoker import Stoker
from stoker.tables import cache_events

logger = logging.getLogger(__name__)

BATCH = 25
"""Entries compared at once: one load, a few milliseconds of SQL."""
POOL = 10
"""Number of recently read entries for each one that is drawn from them."""
EVENTS = 200
"""Latest applied events whose scopes are sampled."""
SETTLE_LIMIT_S, SETTLE_POLL_S = 5.0, 0.05
"""How long the changes that SQL showed may take to be applied; after that, the verdict is left open."""


Report = Callable[[int, int], None]
"""Called with the number done and the total."""


def _nobody(_done: int, _total: int) -> None:
    """Reports nothing."""


@dataclass(frozen=True, slots=True)
class Checked:
    """The verdicts of one run; `stale` names each entry that broke the promise, with its age."""

    counts: Counter[Verdict]
    stale: dict[EntryKey, timedelta]


async def verify(context: JobContext, job: Verify) -> Outcome:
    """Check a sample and publish the verdicts."""
    await verify_entries(context.stoker, job.entries)
    return Outcome.DONE


async def verify_entries(stoker: Stoker, entries: int, report: Report = _nobody) -> Checked:
    """Check up to so many entries, publish and heal; raises CacheUnavailable or DatabaseUnavailable.

    `report` is told after each batch how many were checked, and of how many.
    """
    counts: Counter[Verdict] = Counter()
    stale: dict[EntryKey, timedelta] = {}
    keys = sorted(await _sample(stoker, entries), key=lambda key: key.view)
    done = 0
    for _, of_view in groupby(keys, key=lambda key: key.view):
        same = list(of_view)
        for start in range(0, len(same), BATCH):
            batch = same[start : start + BATCH]
            await _check(stoker, batch, counts, stale)
            done += len(batch)
            report(done, len(keys))
    store = stoker.cache.store
    for key, age in stale.items():
        logger.error("verify.stale", extra={"entry": str(key), "age_s": age.total_seconds()})
        await store.unlink([store.keys.stamp(key.scope, key.view)])
    await publish(store.client, store.keys, counts, max(stale.values(), default=timedelta(0)))
    return Checked(counts, stale)


async def _check(
    stoker: Stoker, keys: Sequence[EntryKey], counts: Counter[Verdict], stale: dict[EntryKey, timedelta]
) -> None:
    """Compare entries of one view with SQL."""
    before = await _held(stoker, keys)
    if not before:
        return
    view = stoker.domain.view(keys[0].view)
    loaded = await stoker.cache.filler.loads.load(view, list(before))
    differing = {key: found for key, found in before.items() if not _equal(found, loaded, key)}
    counts[Verdict.RIGHT] += len(before) - len(differing)
    if not differing:
        return
    # Everything that the load saw was recorded before now. Once all of it is applied, an entry that is still
    # valid and unchanged is stale: nothing is left that could invalidate it.
    if not await _settled_until(stoker, (await unsettled(stoker.engine)).now):
        counts[Verdict.UNDECIDED] += len(differing)
        return
    after = await _held(stoker, list(differing))
    for key, found in differing.items():
        now = after.get(key)
        if now is not None and now.envelope == found.envelope and now.envelope is not None:
            stale[key] = timedelta(microseconds=now.server.now_us() - now.envelope.created_us)
            counts[Verdict.STALE] += 1
        else:
            counts[Verdict.CHANGED] += 1


async def _held(stoker: Stoker, keys: Sequence[EntryKey]) -> dict[EntryKey, Found]:
    """What Redis holds and a read would be served now."""
    store = stoker.cache.store
    names = [stoker.cache.filler.names(key) for key in keys]
    found = await store.lookup.peek(names)
    return {key: one for key, one in zip(keys, found, strict=True) if one.miss is None}


async def _settled_until(stoker: Stoker, moment: datetime) -> bool:
    """Wait until every event recorded before a moment of SQL's clock is applied."""
    give_up = time.monotonic() + SETTLE_LIMIT_S
    while True:
        state = await unsettled(stoker.engine)
        if state.oldest is None or state.oldest > moment:
            return True
        if time.monotonic() >= give_up:
            return False
        await asyncio.sleep(SETTLE_POLL_S)


async def _sample(stoker: Stoker, entries: int) -> set[EntryKey]:
    """Half of what was read lately, drawn at random, and half of what was invalidated lately."""
    store = stoker.cache.store
    longest_s = max(stoker.ttl(view.name).total_seconds() for view in stoker.domain.views)
    read = [key for key, _ in await recently_read(store.client, store.keys, longest_s, entries * POOL)]
    known = [key for key in read if stoker.domain.takes(key)]
    invalidated = await _recently_invalidated(stoker)
    random.shuffle(invalidated)
    random.shuffle(known)
    sample = set(invalidated[: entries // 2])
    for key in known:
        if len(sample) >= entries:
            break
        sample.add(key)
    return sample


async def _recently_invalidated(stoker: Stoker) -> list[EntryKey]:
    query = (
        select(cache_events.c.scopes)
        .where(cache_events.c.settled_at.is_not(None))
        .order_by(cache_events.c.settled_at.desc())
        .limit(EVENTS)
    )
    with database_errors():
        async with stoker.engine.connect() as connection:
            rows = (await connection.execute(query)).scalars().all()
    keys: dict[EntryKey, None] = {}
    for scopes in rows:
        for one in decode(scopes, stoker.domain):
            for name in sorted(
                one.views & stoker.domain.view_names_by_scope.get(one.scope.kind, frozenset())
            ):
                key = stoker.domain.view(name).default_key(one.scope)
                if key is not None:
                    keys[key] = None
    return list(keys)


def _equal(found: Found, loaded: Loaded, key: EntryKey) -> bool:
    """Whether an entry says what SQL says, whatever the order of keys in objects; of its parent, too."""
    body = loaded.bodies.get(key)
    if found.content is None or found.envelope is None or body is None:
        return False
    if found.envelope.parent != loaded.parent_of(key):
        return False
    try:
        held = found.content.body
        return held == body or from_json(held) == from_json(body)
    except ValueError:
        return False  # its seal is right, so it counts as stale
