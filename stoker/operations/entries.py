"""What the cache holds, for operators: the entries and stamps of a scope, and the hottest or slowest entries.

Reads headers and sizes of entries, never their bodies, and a bounded number of keys and rows.
Raises CacheUnavailable or DatabaseUnavailable.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel
from sqlalchemy import RowMapping, text

from stoker.cache.envelope import HEAD_BYTES, ZSTD, read_builder, read_header
from stoker.cache.keys import EntryNames
from stoker.cache.reads import hottest, last_reads, recently_read
from stoker.cache.view import EntryKey, Scope
from stoker.postgres import fetched
from stoker.redis.connection import ServerRun
from stoker.rules import EVERY_SCOPE
from stoker.stoker import Stoker

FAR_BACK_S = 90 * 86400
RECENT = 2_000
"""Recently read entries that are searched for those of a scope."""
EVENTS = 20_000
"""Latest applied events that are searched for those of a scope."""
AMONG_ENTRIES, AMONG_EVENTS = 500, 5_000
"""How many of the latest events are counted for a ranking."""
STAMP_TIME_AT = 27
"""Where the time begins in a stamp: after the server's run and the client's nonce."""


class EntryState(StrEnum):
    """Whether a read would be a hit."""

    VALID = "valid"
    INVALIDATED = "invalidated"
    EXPIRED = "expired"
    ABSENT = "absent"


class EntryFigures(BaseModel):
    """One entry, without its body. `params` is part of its key; times are the cache server's.

    `built_by`: read (a reader that missed), refresh or warming, in the process `built_in`; both as the entry
    itself says.
    """

    view: str
    scope: str
    params: str
    state: EntryState
    age_s: float | None = None
    expires_in_s: float | None = None
    stored_bytes: int | None = None
    body_bytes: int | None = None
    compressed: bool | None = None
    build_ms: float | None = None
    built_at: datetime | None = None
    built_by: str | None = None
    built_in: str | None = None
    read_at: datetime | None = None
    reads: float | None = None
    """Only for the hottest: the number of reads. A read's weight halves every half hour."""


class StampFigures(BaseModel):
    """A stamp. It is missing after an invalidation until something is built."""

    name: str
    present: bool
    made_at: datetime | None = None


class ScopeEvent(BaseModel):
    """An event that invalidated the scope; `by` is its kind."""

    id: int
    by: str
    views: list[str]
    hard: bool
    recorded_at: datetime
    applied_at: datetime | None
    attempts: int
    error: str | None


class ScopeFigures(BaseModel):
    """What the cache holds for one scope, and the last events that named it; None: not asked for."""

    scope: str
    stamps: list[StampFigures]
    entries: list[EntryFigures]
    events: list[ScopeEvent] | None
    can_warm: bool


class ScopeEvents(BaseModel):
    """The last events that named a scope, the latest first."""

    events: list[ScopeEvent]


class Standing(StrEnum):
    """How entries are ranked."""

    READ = "read"
    """Read most."""
    SLOW = "slow"
    """The slowest to build, among those read lately."""


class Entries(BaseModel):
    """Entries without their bodies."""

    entries: list[EntryFigures]


class Invalidated(BaseModel):
    """A scope, and how many of the latest events named it."""

    scope: str
    events: int
    last_at: datetime
    last_by: str


class InvalidatedScopes(BaseModel):
    """Scopes that were invalidated most often."""

    scopes: list[Invalidated]


async def scope_figures(
    stoker: Stoker, kind: str, scope_id: object, *, with_events: bool = True
) -> ScopeFigures:
    """One scope: its entries without parameters, and other entries of it that were read lately.

    Without its events, nothing is asked of Postgres. Raises UnknownScope.
    """
    scope = stoker.domain.scope(kind, scope_id)
    read_at = await scope_keys(stoker, scope)
    return ScopeFigures(
        scope=str(scope),
        stamps=await stamps_of(stoker, scope),
        entries=await entries_of(stoker, list(read_at), read_at),
        events=await _events_of(stoker, scope) if with_events else None,
        can_warm=any(plan.target == scope.kind for plan in stoker.domain.warm_plans),
    )


async def scope_events(stoker: Stoker, kind: str, scope_id: object) -> ScopeEvents:
    """The last events that named a scope; raises UnknownScope."""
    return ScopeEvents(events=await _events_of(stoker, stoker.domain.scope(kind, scope_id)))


async def stamps_of(stoker: Stoker, scope: Scope) -> list[StampFigures]:
    """The hard stamp of a scope, and those of its views."""
    store = stoker.cache.store
    names = [view.name for view in stoker.domain.views if view.scope == scope.kind]
    stamps = [store.keys.hard(scope), *(store.keys.stamp(scope, name) for name in names)]
    answer = await store.client.call(("MGET", *stamps))
    values = zip(["hard", *names], answer.first(), strict=True)
    return [_stamp(name, value, answer.server) for name, value in values]


async def scope_keys(stoker: Stoker, scope: Scope) -> dict[EntryKey, float | None]:
    """A scope's entries without parameters, and others that were read lately: when each was read last."""
    store = stoker.cache.store
    views = [view for view in stoker.domain.views if view.scope == scope.kind]
    defaults = [key for view in views if (key := view.default_key(scope)) is not None]
    recent = await recently_read(store.client, store.keys, FAR_BACK_S, RECENT)
    read_at = {key: at for key, at in recent if key.scope == scope}
    return {key: read_at.get(key) for key in [*defaults, *read_at]}


async def stand_out(stoker: Stoker, by: Standing, limit: int) -> Entries:
    """The entries that are read most, or that took longest to build, in descending order."""
    found = await (_slowest(stoker) if by is Standing.SLOW else _hottest(stoker, limit))
    return Entries(entries=found[:limit])


async def most_invalidated(stoker: Stoker, limit: int) -> InvalidatedScopes:
    """The scopes that the latest applied events named most often."""
    query = text(
        "WITH latest AS MATERIALIZED (SELECT kind, scopes, settled_at FROM stoker.cache_events"
        " WHERE settled_at IS NOT NULL ORDER BY settled_at DESC LIMIT :among)"
        " SELECT CASE one->>0 WHEN :every THEN 'every scope' ELSE concat(one->>0, ':', one->>1) END AS scope,"
        " count(*) AS events, max(settled_at) AS last_at,"
        " (array_agg(latest.kind ORDER BY settled_at DESC))[1] AS last_by"
        " FROM latest, jsonb_array_elements(scopes) AS one"
        " GROUP BY 1 ORDER BY events DESC, last_at DESC LIMIT :limit"
    )
    rows = await fetched(stoker.engine, query, {"every": EVERY_SCOPE, "among": AMONG_EVENTS, "limit": limit})
    return InvalidatedScopes(scopes=[Invalidated(**row) for row in rows])


async def entries_of(
    stoker: Stoker, keys: Sequence[EntryKey], read_at: Mapping[EntryKey, float | None]
) -> list[EntryFigures]:
    """Headers and sizes of these entries, in their order, in one round trip."""
    store = stoker.cache.store
    known = [key for key in keys if key.view in stoker.domain.views_by_name]
    if not known:
        return []
    names = [store.keys.entry(key, stoker.domain.view(key.view).layout) for key in known]
    commands: list[tuple[Any, ...]] = []
    for one in names:
        commands += [("GETRANGE", one.entry, 0, HEAD_BYTES - 1), ("STRLEN", one.entry)]
        commands += [("PTTL", one.entry), ("MGET", one.stamp, one.hard)]
    answer = await store.client.call(*commands)
    found = iter(answer.all())
    return [
        _entry(key, one, replies, answer.server, read_at.get(key))
        for key, one, replies in zip(known, names, zip(found, found, found, found, strict=True), strict=True)
    ]


async def _hottest(stoker: Stoker, limit: int) -> list[EntryFigures]:
    store = stoker.cache.store
    reads = {
        key: number
        for key, number in await hottest(store.client, store.keys, limit)
        if key.view in stoker.domain.views_by_name
    }
    at = await last_reads(store.client, store.keys, list(reads))
    found = await entries_of(stoker, list(reads), {key: one for key, one in at.items() if one is not None})
    return [
        entry.model_copy(update={"reads": round(number, 1)})
        for entry, number in zip(found, reads.values(), strict=True)
    ]


async def _slowest(stoker: Stoker) -> list[EntryFigures]:
    store = stoker.cache.store
    recent = dict(await recently_read(store.client, store.keys, FAR_BACK_S, AMONG_ENTRIES))
    built = [entry for entry in await entries_of(stoker, list(recent), recent) if entry.build_ms is not None]
    return sorted(built, key=lambda entry: -(entry.build_ms or 0))


async def _events_of(stoker: Stoker, scope: Scope) -> list[ScopeEvent]:
    # No index on `scopes`: it would cost every writer. The latest events are few enough for a scan.
    query = text(
        "SELECT id, kind AS by, scopes, recorded_at, settled_at AS applied_at, attempts, error FROM ("
        "(SELECT * FROM stoker.cache_events WHERE settled_at IS NULL ORDER BY recorded_at DESC LIMIT :among)"
        " UNION ALL "
        "(SELECT * FROM stoker.cache_events WHERE settled_at IS NOT NULL"
        " ORDER BY settled_at DESC LIMIT :among)"
        ") AS latest WHERE scopes @> CAST(:scope AS jsonb) ORDER BY recorded_at DESC LIMIT 5"
    )
    wanted = json.dumps([[scope.kind, scope.id]])
    rows = await fetched(stoker.engine, query, {"among": EVENTS, "scope": wanted})
    return [_event(row, [one for one in row["scopes"] if one[:2] == list(scope)]) for row in rows]


def _event(row: RowMapping, named: list[list[Any]]) -> ScopeEvent:
    views = sorted({view for one in named for view in one[2]})
    return ScopeEvent(**row, views=views, hard=any(one[3] for one in named))


def _stamp(name: str, value: bytes | None, server: ServerRun) -> StampFigures:
    if value is None or not value.startswith(server.run):
        return StampFigures(name=name, present=False)
    try:
        made_us = int(value[STAMP_TIME_AT:], 16)
    except ValueError:
        return StampFigures(name=name, present=True)
    return StampFigures(name=name, present=True, made_at=_moment(made_us))


def _moment(us: int) -> datetime | None:
    """Microseconds since 1970 as a date; None for what is none."""
    try:
        return datetime.fromtimestamp(us / 1_000_000, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _entry(
    key: EntryKey, names: EntryNames, replies: tuple[Any, ...], server: ServerRun, read_at: float | None
) -> EntryFigures:
    head, size, life_ms, (stamp, hard) = replies
    read = None if read_at is None else datetime.fromtimestamp(read_at, UTC)
    plain = {"view": key.view, "scope": str(key.scope), "params": key.params, "read_at": read}
    found = read_header(head)
    if found is None or found.check != names.check:
        return EntryFigures(state=EntryState.ABSENT, **plain)
    state = EntryState.VALID
    held = stamp == found.stamp and hard == found.hard
    if not held or not found.stamp.startswith(server.run) or not found.hard.startswith(server.run):
        state = EntryState.INVALIDATED
    elif found.expired(server.now_us()):
        state = EntryState.EXPIRED
    by, _, process = read_builder(head).decode(errors="replace").partition(" ")
    left_us = found.created_us + found.ttl_ms * 1000 - server.now_us()
    return EntryFigures(
        state=state,
        age_s=round(max(0.0, (server.now_us() - found.created_us) / 1_000_000), 1),
        expires_in_s=round(max(0.0, min(left_us / 1_000_000, life_ms / 1000)), 1),
        stored_bytes=size,
        body_bytes=found.body_bytes,
        compressed=found.codec == ZSTD,
        build_ms=round(found.build_us / 1000, 1),
        built_at=_moment(found.created_us),
        built_by=by or None,
        built_in=process or None,
        **plain,
    )
