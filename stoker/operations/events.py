"""Events: list them, and follow one from the commit that recorded it to the reads that saw its effect.

Raises DatabaseUnavailable, CacheUnavailable or NotFound. No payload is shown.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from types import CodeType
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import RowMapping, text

from stoker.cache.reads import last_reads
from stoker.cache.view import LARGEST_ID, EntryKey, Scope
from stoker.domain import Domain
from stoker.errors import CacheUnavailable, NotFound
from stoker.history.job_rows import JobHistory
from stoker.jobs import Refresh
from stoker.operations.entries import EntryFigures, EntryState, entries_of
from stoker.operations.moments import Moment
from stoker.operations.texts import Text64, Text128
from stoker.outbox.record import InvalidationRequested
from stoker.postgres import fetched
from stoker.rules import ASK_RULE, EVERY_SCOPE
from stoker.stoker import Stoker

AMONG = 20_000
"""Latest events that are searched at once: `scopes` has no index, which would cost every writer."""
SCOPES_SHOWN = 20
COLUMNS = (
    "id, kind, recorded_by, recorded_at, transaction_id, settled_at AS applied_at, settled_by AS applied_by,"
    " due_at, attempts, error, scopes"
)


class EventState(StrEnum):
    """Whether an event is in effect."""

    WAITING = "waiting"
    FAILING = "failing"
    APPLIED = "applied"


class EventScope(BaseModel):
    """What an event invalidates. `scope`: KIND:ID, `every`, or `asked`: its rule says it when applied."""

    scope: str
    views: list[str]
    hard: bool


class EventShown(BaseModel):
    """An event. `recorded_by`: application, `trigger` and its table, sql or migrate.

    `lag_s`: seconds from recording to applying, or until now. `applied_by`: the process that applied it.
    """

    id: int
    kind: str
    state: EventState
    recorded_by: str
    recorded_at: datetime
    transaction_id: int
    applied_at: datetime | None
    applied_by: str | None
    lag_s: float
    attempts: int
    due_at: datetime
    error: str | None
    scopes: list[EventScope]


class EventList(BaseModel):
    """Events, the latest first. The newest `searched` before `before` were searched, back to `back_to`.

    The next page is `before` this `next`; None: there are no older ones.
    """

    events: list[EventShown]
    searched: int
    back_to: datetime | None
    next: int | None


class Step(BaseModel):
    """One step of an event. `after_s`: seconds since it was recorded. `who`: a process or a job.

    `last built`: the entry that the cache holds now; if a read built it, that read is known. Of hits there is
    the last one of each entry, at the time of its process's report, which covers `cache.stats_flush_s`. The
    first hit and who read are not recorded: that would cost every hit.
    """

    what: str
    at: datetime | None
    after_s: float | None
    who: str | None
    about: str | None


class EventTrail(BaseModel):
    """One event, and what followed from it."""

    event: EventShown
    rule: str | None
    steps: list[Step]


class EventChoice(BaseModel):
    """Which events to list."""

    model_config = ConfigDict(extra="forbid")
    state: EventState | None = None
    kind: Text64 | None = None
    scope: Text128 | None = Field(default=None, description="KIND:ID")
    since: Moment | None = None
    limit: int = Field(default=50, ge=1, le=200)
    before: int | None = Field(default=None, ge=1, le=LARGEST_ID)


async def listing(stoker: Stoker, asked: EventChoice) -> EventList:
    """Events that match, the latest first; searches AMONG of them and says how far it came."""
    kind, _, scope_id = (asked.scope or "").partition(":")
    filtered = bool(asked.state or asked.kind or asked.scope or asked.since)
    values: dict[str, Any] = {
        "among": AMONG if filtered else asked.limit,
        "before": asked.before or LARGEST_ID,
        "kind": asked.kind or None,
        "since": asked.since,
        "state": asked.state,
        "scope": json.dumps([[kind, scope_id]]) if asked.scope else None,
        "limit": asked.limit,
    }
    query = text(
        f"WITH latest AS MATERIALIZED (SELECT {COLUMNS} FROM stoker.cache_events"  # noqa: S608 - a constant
        " WHERE id < :before ORDER BY id DESC LIMIT :among),"
        " found AS (SELECT * FROM latest WHERE (CAST(:kind AS text) IS NULL OR kind = :kind)"
        " AND (CAST(:since AS timestamptz) IS NULL OR recorded_at >= :since)"
        " AND (CAST(:scope AS jsonb) IS NULL OR scopes @> CAST(:scope AS jsonb))"
        " AND (CAST(:state AS text) IS NULL OR :state = CASE WHEN applied_at IS NOT NULL THEN 'applied'"
        " WHEN attempts > 0 THEN 'failing' ELSE 'waiting' END) ORDER BY id DESC LIMIT :limit)"
        " SELECT coalesce((SELECT jsonb_agg(to_jsonb(found) ORDER BY id DESC) FROM found), '[]') AS found,"
        " count(*) AS searched, min(recorded_at) AS back_to, min(id) AS oldest FROM latest"
    )
    (row,) = await fetched(stoker.engine, query, values)
    events = [_shown(one) for one in row["found"]]
    more = row["searched"] == values["among"]
    after = events[-1].id if len(events) == asked.limit else row["oldest"]
    return EventList(
        events=events,
        searched=row["searched"],
        back_to=row["back_to"],
        next=after if more or len(events) == asked.limit else None,
    )


async def trail(stoker: Stoker, event_id: int) -> EventTrail:
    """One event: recorded, applied, refreshed, read, with times and who did it; raises NotFound."""
    query = text(
        "SELECT to_jsonb(one) AS found FROM"  # noqa: S608 - a constant
        f" (SELECT {COLUMNS} FROM stoker.cache_events WHERE id = :id) AS one"
    )
    rows = await fetched(stoker.engine, query, {"id": event_id})
    if not rows:
        raise NotFound(f"there is no event {event_id}: the id is wrong, or it was applied long ago")
    event = _shown(rows[0]["found"])
    steps = [_step("recorded", event.recorded_at, event, event.recorded_by)]
    steps[0].about = f"transaction {event.transaction_id}"
    if event.applied_at is None:
        steps.append(Step(what="not applied", at=None, after_s=event.lag_s, who=None, about=event.error))
    else:
        steps.append(_step("applied", event.applied_at, event, event.applied_by))
        steps += await _refreshes(stoker, event)
        steps += await _in_the_cache(stoker, event)
    return EventTrail(event=event, rule=rule_of(stoker.domain, event.kind), steps=steps)


def rule_of(domain: Domain, kind: str) -> str | None:
    """The rule of events of this kind, as `module.function` (a lambda with its line); None without a rule."""
    if kind == InvalidationRequested.kind:
        return "none needed: the event names its scopes"
    rule = domain.rules_by_kind.get(kind)
    if rule is None:
        return None
    made: object = rule.invalidates
    name = f"{getattr(made, '__module__', '?')}.{getattr(made, '__qualname__', repr(made))}"
    code = getattr(made, "__code__", None)
    # All lambdas of a module have one name.
    return (
        f"{name} (line {code.co_firstlineno})" if isinstance(code, CodeType) and "<lambda>" in name else name
    )


def _shown(row: RowMapping | dict[str, Any]) -> EventShown:
    recorded_at, applied_at = _moment(row["recorded_at"]), _moment(row["applied_at"])
    assert recorded_at is not None  # noqa: S101 - its column is not null
    state = (
        EventState.APPLIED if applied_at else EventState.FAILING if row["attempts"] else EventState.WAITING
    )
    lag = (applied_at or datetime.now(UTC)) - recorded_at
    kept = {name: row[name] for name in ("id", "kind", "recorded_by", "transaction_id", "applied_by")}
    return EventShown(
        **kept,
        state=state,
        recorded_at=recorded_at,
        applied_at=applied_at,
        lag_s=round(max(0.0, lag.total_seconds()), 3),
        attempts=row["attempts"],
        due_at=row["due_at"],
        error=row["error"],
        scopes=_scopes(row["scopes"]),
    )


def _scopes(stored: Any) -> list[EventScope]:  # noqa: ANN401 - JSON of any release
    try:
        return [
            EventScope(scope=_scope_name(kind, scope_id), views=list(map(str, views)), hard=bool(hard))
            for kind, scope_id, views, hard, *_ in stored[:SCOPES_SHOWN]
        ]
    except (TypeError, ValueError):
        return []


def _scope_name(kind: object, scope_id: object) -> str:
    return {ASK_RULE: "asked", EVERY_SCOPE: "every"}.get(str(kind), f"{kind}:{scope_id}")


def _moment(given: str | None) -> datetime | None:
    return None if given is None else datetime.fromisoformat(given).astimezone(UTC)


def _step(what: str, at: datetime, event: EventShown, who: str | None, about: str | None = None) -> Step:
    after_s = round((at - event.recorded_at).total_seconds(), 3)
    return Step(what=what, at=at, after_s=after_s, who=who, about=about)


async def _refreshes(stoker: Stoker, event: EventShown) -> list[Step]:
    """The first refresh of each entry that ended after the event was applied."""
    rows = await JobHistory(stoker.engine).refreshes(
        Refresh.kind, [one.scope for one in event.scopes], event.applied_at
    )
    concerned = {(one.scope, view) for one in event.scopes for view in one.views}
    steps: dict[tuple[str | None, str | None], Step] = {}
    for row in rows:
        entry = (row.scope, row.view)
        if entry in concerned and entry not in steps:
            about = f"{row.scope}/{row.view}: {row.outcome} in job {row.job_id}"
            steps[entry] = _step("refreshed", row.ended_at, event, row.worker, about)
    return list(steps.values())


async def _in_the_cache(stoker: Stoker, event: EventShown) -> list[Step]:
    """Of the entries without parameters: who built those that the cache holds, and their last reads."""
    keys = _keys(stoker, event.scopes)
    store = stoker.cache.store
    try:
        read = await last_reads(store.client, store.keys, keys)
        held = await entries_of(stoker, keys, {})
    except CacheUnavailable as error:
        return [Step(what="builds and reads unknown", at=None, after_s=None, who=None, about=str(error))]
    steps = [*_builds(held, event), *_reads(read, event, stoker.settings.cache.stats_flush_s)]
    return sorted(steps, key=lambda step: step.after_s or 0) or [
        Step(what="no build or read known", at=None, after_s=None, who=None, about="since it was applied")
    ]


def _builds(held: Sequence[EntryFigures], event: EventShown) -> Iterator[Step]:
    """Entries whose stamps hold although the event is applied: they were built after it took effect."""
    for one in held:
        if one.state in (EntryState.VALID, EntryState.EXPIRED) and one.built_at is not None and one.built_by:
            about = f"{one.scope}/{one.view}: by {one.built_by}"
            yield _step("last built", one.built_at, event, one.built_in, about)


def _reads(read: Mapping[EntryKey, float | None], event: EventShown, flush_s: float) -> Iterator[Step]:
    """Reads that were reported after the event was applied."""
    applied_at = event.applied_at.timestamp() if event.applied_at is not None else math.inf
    for key, at in read.items():
        if at is not None and at >= applied_at:
            maybe = ", perhaps before the event was applied" if at - flush_s < applied_at else ""
            about = f"{key}: at most {flush_s:g} s before this report{maybe}"
            yield _step("last read", datetime.fromtimestamp(at, UTC), event, None, about)


def _keys(stoker: Stoker, scopes: Sequence[EventScope]) -> list[EntryKey]:
    keys = []
    for one in scopes:
        kind, _, scope_id = one.scope.partition(":")
        for name in one.views:
            view = stoker.domain.views_by_name.get(name)
            if view is not None and view.scope == kind:
                keys.append(view.default_key(Scope(kind, scope_id)))
    return [key for key in dict.fromkeys(keys) if key is not None]
