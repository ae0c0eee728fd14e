"""Why a reader sees what it sees: one entry with its stamps, builder, changes, rules, demand and readers.

Nothing is changed, and nothing is loaded but the entry's access list. Raises UnknownView, UnknownScope,
InvalidParams, CacheUnavailable or DatabaseUnavailable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import BaseModel
from pydantic_core import from_json

from stoker.cache.fill import BuiltBy
from stoker.cache.reads import last_reads
from stoker.cache.view import Access, EntryKey, Scope, View
from stoker.errors import CacheUnavailable
from stoker.handlers.demand import in_demand
from stoker.history.job_rows import JobHistory
from stoker.jobs import Refresh
from stoker.operations import events, prediction
from stoker.operations.entries import (
    EntryFigures,
    EntryState,
    StampFigures,
    entries_of,
    stamps_of,
)
from stoker.operations.events import EventChoice, EventShown, EventState, rule_of
from stoker.stoker import Stoker

READERS_SHOWN, EVENTS_SHOWN = 20, 5
CLOCKS_APART = timedelta(seconds=2)
"""How far the clocks of the cache server and of a worker may be apart."""


class Readers(BaseModel):
    """Who may read an entry. `readers`: some of them, with their roles; `role`: of the one `asked` about."""

    rule: str
    number: int | None = None
    readers: dict[str, str] = {}
    asked: str | None = None
    role: str | None = None


class Demand(BaseModel):
    """Whether it is worth rebuilding: `kept_warm` if it was read since it was built, within its TTL."""

    read_at: datetime | None
    kept_warm: bool
    ttl_s: float


class Builder(BaseModel):
    """Who built the entry that is there, as it says itself: a read, a refresh or warming, and the process.

    `job_id`: of a refresh, as long as its run is kept.
    """

    by: str
    process: str
    job_id: str | None = None


class Explanation(BaseModel):
    """One entry. `says`: what a read does now, and why, in sentences. `rules`: by kind of the last events."""

    view: str
    scope: str
    params: str
    says: list[str]
    entry: EntryFigures
    stamps: list[StampFigures]
    builder: Builder | None
    events: list[EventShown]
    events_searched: int
    rules: dict[str, str]
    demand: Demand
    access: Readers
    prediction: str | None = None
    """Whether predicted warming builds it, with the score and what is needed; None: that was not asked."""


async def explain(
    stoker: Stoker,
    view_name: str,
    scope_id: object,
    params: Mapping[str, Any] | None = None,
    reader: str | None = None,
    *,
    predicted: bool = False,
) -> Explanation:
    """All about one entry; `reader`: whether this one may read it.

    `predicted`: with what predicted warming makes of it, for which all that it has learnt is read.
    """
    view = stoker.domain.view(view_name)
    key = view.key(stoker.domain.scope(view.scope, scope_id), params)
    try:
        return await _explained(stoker, view, key, reader, predicted=predicted)
    except CacheUnavailable as error:
        raise CacheUnavailable(
            f"{error}: until it answers, {key} is read from SQL, and what is kept of it is not known"
        ) from error


async def _explained(
    stoker: Stoker, view: View, key: EntryKey, reader: str | None, *, predicted: bool
) -> Explanation:
    store = stoker.cache.store
    read_at = (await last_reads(store.client, store.keys, [key]))[key]
    (entry,) = await entries_of(stoker, [key], {} if read_at is None else {key: read_at})
    stamps = [one for one in await stamps_of(stoker, key.scope) if one.name in ("hard", view.name)]
    found = await events.listing(stoker, EventChoice(scope=str(key.scope), limit=50))
    concerning = [one for one in found.events if _concerns(one, key)][:EVENTS_SHOWN]
    return Explanation(
        view=view.name,
        scope=str(key.scope),
        params=key.params,
        says=list(_sentences(stoker, entry, concerning)),
        entry=entry,
        stamps=stamps,
        builder=await _builder(stoker, key, entry),
        events=concerning,
        events_searched=found.searched,
        rules=_rules(stoker, concerning),
        demand=Demand(
            read_at=None if read_at is None else datetime.fromtimestamp(read_at, UTC),
            kept_warm=key in await in_demand(stoker, [key]),
            ttl_s=stoker.ttl(view.name).total_seconds(),
        ),
        access=await _access(stoker, view, key, reader),
        prediction=await _predicted(stoker, key) if predicted else None,
    )


async def _predicted(stoker: Stoker, key: EntryKey) -> str:
    entry = f"{key.scope}/{key.view}" + (f"?{key.params}" if key.params else "")
    return (await prediction.explain(stoker, entry)).decision


def for_viewers(found: Explanation) -> Explanation:
    """What a viewer may see of it: no parameters, which are what people search for, and no readers."""
    hidden = "hidden" if found.params else ""
    return found.model_copy(
        update={
            "params": hidden,
            "entry": found.entry.model_copy(update={"params": hidden}),
            "access": found.access.model_copy(update={"readers": {}}),
        }
    )


def _sentences(stoker: Stoker, entry: EntryFigures, found: Sequence[EventShown]) -> list[str]:
    said = []
    if stoker.cache.breaker.open:
        said.append("Reads of this process bypass the cache: its breaker is open.")
    newest = next((one for one in found if one.state is EventState.APPLIED), None)
    match entry.state:
        case EntryState.VALID:
            said.append(f"A read is served this entry, which is {entry.age_s:.1f} s old.")
        case EntryState.EXPIRED:
            said.append("A read builds it: the entry that is there has expired.")
        case EntryState.INVALIDATED:
            by = f", last by {newest.kind} (event {newest.id})" if newest else ""
            said.append(f"A read builds it: the entry that is there was invalidated{by}.")
        case _:
            said.append("A read builds it: the cache has no such entry.")
    waiting = [one for one in found if one.state is not EventState.APPLIED]
    if waiting:
        oldest = waiting[-1]
        said.append(
            f"Changes that are recorded and not applied yet: {len(waiting)}, the oldest (event {oldest.id}) "
            f"for {oldest.lag_s:.1f} s. Until then readers may see what was before."
        )
    if not found:
        said.append("No change of it is among the events that were searched.")
    return said


def _concerns(event: EventShown, key: EntryKey) -> bool:
    return any(
        one.scope == str(key.scope) and (one.hard or not one.views or key.view in one.views)
        for one in event.scopes
    )


def _rules(stoker: Stoker, found: Sequence[EventShown]) -> dict[str, str]:
    return {one.kind: rule_of(stoker.domain, one.kind) or "none in this release" for one in found}


async def _builder(stoker: Stoker, key: EntryKey, entry: EntryFigures) -> Builder | None:
    if entry.built_at is None or entry.built_by is None or entry.built_in is None:
        return None
    job_id = await _refresh(stoker, key, entry) if entry.built_by == BuiltBy.REFRESH else None
    return Builder(by=entry.built_by, process=entry.built_in, job_id=job_id)


async def _refresh(stoker: Stoker, key: EntryKey, entry: EntryFigures) -> str | None:
    """The job that ran in the entry's builder when the entry was made, if its run is kept."""
    built_at = entry.built_at or datetime.now(UTC)
    rows = await JobHistory(stoker.engine).refreshes(
        Refresh.kind,
        [str(key.scope)],
        built_at - CLOCKS_APART,
        built_at + timedelta(seconds=stoker.settings.loaders.statement_timeout_s) + CLOCKS_APART,
    )
    for row in rows:
        began_at = row.ended_at - timedelta(seconds=row.ran_s)
        here = row.view == key.view and row.worker == entry.built_in and not row.failed
        if here and began_at <= built_at + CLOCKS_APART:
            return row.job_id
    return None


async def _access(stoker: Stoker, view: View, key: EntryKey, reader: str | None) -> Readers:
    if view.access is Access.ANYONE:
        return Readers(rule="anyone", asked=reader, role=reader and "reader")
    if view.access is Access.OWNER:
        role = "owner" if reader == key.scope.id else None
        return Readers(rule=f"the owner alone: {key.scope.id}", asked=reader, role=role)
    guard, rule = await _guard(stoker, view, key)
    if guard is None:
        return Readers(rule=rule, asked=reader)
    loads = stoker.cache.filler.loads
    loaded = await loads.load_without_stamp(stoker.domain.view(guard.view), guard)
    roles = from_json(loaded.bodies.get(guard, b"{}"))
    some = dict(list(roles.items())[:READERS_SHOWN])
    role = roles.get(reader) if reader is not None else None
    shown = {name: str(one) for name, one in some.items()}
    return Readers(rule=rule, number=len(roles), readers=shown, asked=reader, role=role and str(role))


async def _guard(stoker: Stoker, view: View, key: EntryKey) -> tuple[EntryKey | None, str]:
    """The entry that says who may read, in SQL now; None while the parent is not known."""
    guard = stoker.domain.view(view.access_view)
    if view.parent is None:
        return guard.key(key.scope), f"members of {key.scope}, by view {guard.name}"
    (found,) = await stoker.cache.store.lookup.peek([stoker.cache.filler.names(key)])
    if found.envelope is None or not found.envelope.parent:
        return None, f"members of its {view.parent}; which one is known only while the entry is cached"
    parent = found.envelope.parent.decode()
    return guard.key(Scope(*parent.split(":", 1))), f"members of its parent {parent}, by view {guard.name}"
