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
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby, islice

from pydantic_core import from_json
from sqlalchemy import insert, select

from stoker.cache.loads import Loaded
from stoker.cache.reading import Found
from stoker.cache.reads import recently_read
from stoker.cache.verdicts import Verdict, publish
from stoker.cache.view import EntryKey
from stoker.coverage.suspects import differences, suspects
from stoker.handlers.context import JobContext
from stoker.jobs import Outcome, Verify
from stoker.outbox.rows import unsettled
from stoker.outbox.scopes import decode
from stoker.postgres import database_errors
from stoker.settings import require
from stoker.stoker import Stoker
from stoker.tables import cache_events, stale_findings

logger = logging.getLogger(__name__)

BATCH = 25
"""Entries compared at once: one load, a few milliseconds of SQL."""
POOL = 10
"""Number of recently read entries for each one that is drawn from them."""
EVENTS = 200
"""Latest applied events whose scopes are sampled."""
PLACES = 10
"""Places of a stale entry that are named."""
EXPLAINED, PATIENCE_S = 3, 10.0
"""Stale entries of one run whose rows are searched, and how long that may take for each."""
SETTLE_LIMIT_S, SETTLE_POLL_S = 5.0, 0.05
"""How long the changes that SQL showed may take to be applied; after that, the verdict is left open."""


Report = Callable[[int, int], None]
"""Called with the number done and the total."""


def _nobody(_done: int, _total: int) -> None:
    """Reports nothing."""


@dataclass(slots=True)
class Stale:
    """An entry that broke the promise."""

    age: timedelta
    differs: list[str]
    """The places where it differs from SQL; no value."""
    suspects: list[str] = field(default_factory=list)
    """The rows that were written since it was built, and whether their writers recorded an event."""


@dataclass(frozen=True, slots=True)
class Checked:
    """The verdicts of one run."""

    counts: Counter[Verdict]
    stale: dict[EntryKey, Stale]


@dataclass(frozen=True, slots=True)
class Compared:
    """A verdict for each entry that a read would be served; what is wrong with those that are stale."""

    verdicts: dict[EntryKey, Verdict]
    stale: dict[EntryKey, Stale]


async def verify(context: JobContext, job: Verify) -> Outcome:
    """Check a sample and publish the verdicts."""
    await verify_entries(context.stoker, job.entries)
    return Outcome.DONE


async def verify_entries(stoker: Stoker, entries: int, report: Report = _nobody) -> Checked:
    """Check up to so many entries, publish and heal; raises CacheUnavailable or DatabaseUnavailable.

    `report` is told after each batch how many were checked, and of how many.
    """
    counts: Counter[Verdict] = Counter()
    stale: dict[EntryKey, Stale] = {}
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
    await store.unlink([store.keys.stamp(key.scope, key.view) for key in stale])
    for number, (key, one) in enumerate(stale.items()):
        if number < EXPLAINED:
            one.suspects = await _suspects(stoker, key, one.age)
        await _keep(stoker, key, one)
        facts = {"age_s": one.age.total_seconds(), "differs": one.differs, "suspects": one.suspects}
        logger.error("verify.stale", extra={"entry": str(key), **facts})
    oldest = max((one.age for one in stale.values()), default=timedelta(0))
    await publish(store.client, store.keys, counts, oldest)
    return Checked(counts, stale)


async def compare_entries(stoker: Stoker, keys: Sequence[EntryKey]) -> Compared:
    """Compare these entries with SQL, and change nothing: neither heal nor publish.

    Raises CacheUnavailable or DatabaseUnavailable.
    """
    stale: dict[EntryKey, Stale] = {}
    verdicts: dict[EntryKey, Verdict] = {}
    for _, of_view in groupby(sorted(keys, key=lambda key: key.view), key=lambda key: key.view):
        same = list(of_view)
        for start in range(0, len(same), BATCH):
            verdicts |= await _check(stoker, same[start : start + BATCH], Counter(), stale)
    for number, (key, one) in enumerate(stale.items()):
        if number < EXPLAINED:
            one.suspects = await _suspects(stoker, key, one.age)
    return Compared(verdicts, stale)


async def _keep(stoker: Stoker, key: EntryKey, one: Stale) -> None:
    """Write a finding for operators, who acknowledge it."""
    row = {
        "view": key.view,
        "scope": str(key.scope),
        "params": key.params,
        "age_s": one.age.total_seconds(),
        "differs": one.differs,
        "suspects": one.suspects,
        "found_by": stoker.process_name,
    }
    with database_errors():
        async with stoker.engine.begin() as connection:
            await connection.execute(insert(stale_findings).values(row))


async def _check(
    stoker: Stoker, keys: Sequence[EntryKey], counts: Counter[Verdict], stale: dict[EntryKey, Stale]
) -> dict[EntryKey, Verdict]:
    """Compare entries of one view with SQL; a verdict for each that a read would be served."""
    before = await _held(stoker, keys)
    if not before:
        return {}
    view = stoker.domain.view(keys[0].view)
    loaded = await stoker.cache.filler.loads.load(view, list(before))
    differing = {key: found for key, found in before.items() if not _equal(found, loaded, key)}
    counts[Verdict.RIGHT] += len(before) - len(differing)
    verdicts = dict.fromkeys(before, Verdict.RIGHT)
    if not differing:
        return verdicts
    # Everything that the load saw was recorded before now. Once all of it is applied, an entry that is still
    # valid and unchanged is stale: nothing is left that could invalidate it.
    if not await _settled_until(stoker, (await unsettled(stoker.engine)).now):
        counts[Verdict.UNDECIDED] += len(differing)
        return verdicts | dict.fromkeys(differing, Verdict.UNDECIDED)
    after = await _held(stoker, list(differing))
    for key, found in differing.items():
        now = after.get(key)
        if now is not None and now.envelope == found.envelope and now.envelope is not None:
            age = timedelta(microseconds=now.server.now_us() - now.envelope.created_us)
            stale[key] = Stale(age, _differences(found, loaded.bodies.get(key)))
            verdicts[key] = Verdict.STALE
        else:
            verdicts[key] = Verdict.CHANGED
        counts[verdicts[key]] += 1
    return verdicts


async def _suspects(stoker: Stoker, key: EntryKey, age: timedelta) -> list[str]:
    """Who may have written what the entry does not show. The entry is healed already: this may fail."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            return [
                str(one)
                for one in await suspects(
                    require(stoker.settings.database_url, "DATABASE_URL"),
                    stoker.domain,
                    key,
                    age,
                    schema=stoker.settings.database.schema_name,
                )
            ]
    except Exception as error:
        logger.warning("verify.no_suspects", exc_info=True, extra={"entry": str(key)})
        return [f"not found out: {type(error).__name__}"]


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
    if not stoker.domain.views:  # an application that has jobs alone
        return set()
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


def _differences(found: Found, body: bytes | None) -> list[str]:
    if found.content is None or body is None:
        return ["all of it"]
    try:
        return sorted(islice(differences(from_json(found.content.body), from_json(body)), PLACES))
    except ValueError:
        return ["all of it"]


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
