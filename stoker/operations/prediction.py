"""Predicted warming, for operators: what it does now, and why one entry is warmed or not.

Raises DatabaseUnavailable or CacheUnavailable.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from enum import StrEnum

from pydantic import BaseModel

from stoker.cache.view import EntryKey
from stoker.domain import Domain
from stoker.errors import BadRequest, InvalidParams
from stoker.prediction.contest import COUNTS, DEFAULT
from stoker.prediction.features import SIZES
from stoker.prediction.live import Explained, Live
from stoker.prediction.snapshot import load
from stoker.stoker import Stoker
from stoker.warming.entries import Entries, name_of
from stoker.warming.figures import PredictionFigures
from stoker.warming.forecast import fresh
from stoker.warming.rows import PastHour, history, state_of, stored


class Mode(StrEnum):
    """Whether prediction chooses what is warmed."""

    OFF = "off"
    """It has no budget."""
    SILENT = "silent"
    """No worker has planned in the last minutes: the default plan warms."""
    UNKNOWN = "unknown"
    """A worker of another release plans, and says so in a way that this release cannot read."""
    SHADOW = "shadow"
    """A worker learns and compares; the default plan warms, or operators hold warming back."""
    LIVE = "live"
    """What is chosen is warmed."""


class PredictionNow(BaseModel):
    """What prediction does. `figures` is None where nobody has predicted yet, and in mode `unknown`."""

    mode: Mode
    in_force: str
    """Which way of choosing warms now."""
    why: str
    predicted_by: str | None
    """The worker that predicts."""
    planned_at: datetime | None
    learnt_at: datetime | None
    """When what was learnt was last kept."""
    figures: PredictionFigures | None


class PredictionHistory(BaseModel):
    """What was kept once an hour, the oldest first."""

    hours: list[PastHour]


class FeatureFigures(BaseModel):
    """One feature of an entry: in which of its bins it is, from 0, and what that weighs."""

    feature: str
    bin: int
    bins: int
    weight: float


class ExplainedEntry(BaseModel):
    """Why an entry is warmed or not, as of the last time that what was learnt was kept."""

    entry: str
    decision: str
    probability: float
    """That it is read before it expires or changes; corrected by the calibration."""
    uncorrected: float
    """What the weights add up to."""
    lately: float
    """Reads of these hours: what decides where decayed counts are in force."""
    threshold: float
    """What is needed where the one in force decides."""
    in_force: str
    why: str
    last_read: datetime | None
    may_be_warmed: bool
    is_cached: bool
    features: list[FeatureFigures]
    """The heaviest first."""
    learnt_at: datetime | None


async def prediction(stoker: Stoker) -> PredictionNow:
    """What prediction does now."""
    found = await stored(stoker.engine)
    mode, in_force = Mode.SILENT, DEFAULT
    if not stoker.settings.schedule.warm_budget_s:
        mode, why = Mode.OFF, "schedule.warm_budget_s is 0"
    elif found.planned_at is None:
        why = "no worker has predicted yet"
    elif not found.valid:
        why = f"no worker has predicted since {found.planned_at:%Y-%m-%d %H:%M} UTC"
    elif found.figures is None:
        mode, in_force = Mode.UNKNOWN, found.in_force or DEFAULT
        why = (
            f"{found.holder or 'the worker that predicted'} is of another release, whose figures this one "
            "cannot read; workers of this release warm by the default plan"
        )
    else:
        in_force, why, held_back = found.figures.in_force, found.figures.why, found.figures.held_back
        mode = Mode.LIVE if in_force != DEFAULT and held_back is None else Mode.SHADOW
        if held_back is not None:
            why = f"{held_back}; {why}"
    return PredictionNow(
        mode=mode,
        in_force=in_force,
        why=why,
        predicted_by=found.holder,
        planned_at=found.planned_at,
        learnt_at=found.saved_at,
        figures=found.figures,
    )


async def past(stoker: Stoker, last: int, feature: str | None = None) -> PredictionHistory:
    """The last hours that were kept, with all weights or those of one feature; raises BadRequest."""
    if feature is not None and feature not in SIZES:
        raise BadRequest(f"no feature {feature!r:.60}; there are: {', '.join(SIZES)}", field="feature")
    hours = await history(stoker.engine, last)
    for one in hours:
        one.weights = {name: found for name, found in one.weights.items() if feature in (None, name)}
    return PredictionHistory(hours=hours)


async def explain(stoker: Stoker, entry: str) -> ExplainedEntry:
    """Why an entry, written as `project:42/dashboard`, is warmed or not; raises BadRequest."""
    key = entry_of(stoker.domain, entry)
    now = await prediction(stoker)
    entries = Entries(stoker)
    live = fresh(stoker, entries)
    state = await state_of(stoker.engine)
    if state is not None:
        load(live, state)
    at = datetime.now(UTC).timestamp()
    name = name_of(key)
    found = live.explain(at, name)
    read_lately = [name] if found.last_read is not None and found.last_read > at - 86400 else []
    may = name in entries.may_be_warmed(await entries.planned(), read_lately)
    [held] = await stoker.cache.store.lookup.peek([stoker.cache.filler.names(key)])
    is_cached = held.miss is None
    return ExplainedEntry(
        entry=entry,
        decision=_decision(live, now, found, may=may, is_cached=is_cached),
        probability=found.probability,
        uncorrected=found.uncorrected,
        lately=found.lately,
        threshold=_needed(live, now.in_force),
        in_force=now.in_force,
        why=now.why,
        last_read=None if found.last_read is None else datetime.fromtimestamp(found.last_read, UTC),
        may_be_warmed=may,
        is_cached=is_cached,
        features=[
            FeatureFigures(feature=one.feature, bin=one.place, bins=one.places, weight=round(one.weight, 4))
            for one in sorted(found.weights, key=lambda one: -abs(one.weight))
        ],
        learnt_at=now.learnt_at,
    )


def entry_of(domain: Domain, entry: str) -> EntryKey:
    """The key of `kind:id/view`, with parameters as JSON after a `?`, or the defaults; raises BadRequest."""
    plain, _, params = entry.partition("?")
    scope, _, view = plain.rpartition("/")
    kind, separator, scope_id = scope.partition(":")
    if not separator:
        raise BadRequest(f"{entry:.100} is no entry: write it as project:42/dashboard", field="entry")
    declared = domain.view(view)
    if declared.scope != kind:
        raise BadRequest(f"view {view} is of scope kind {declared.scope}, not {kind:.40}", field="entry")
    if not params:
        return domain.key(declared, scope_id)
    try:
        said = json.loads(params)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        raise InvalidParams(
            'parameters are an object of JSON after a `?`, as in project:42/list?{"page": 2}, '
            f"not {params:.100}",
            field="entry",
        )
    return domain.key(declared, scope_id, said)


def _needed(live: Live, in_force: str) -> float:
    return live.budget.threshold if in_force == COUNTS else max(live.least, live.budget.threshold)


def _decision(live: Live, now: PredictionNow, found: Explained, *, may: bool, is_cached: bool) -> str:
    if now.mode is Mode.UNKNOWN:
        return f"not known: {now.why}"
    if now.in_force == DEFAULT:
        return "the default plan decides: the schedule warms what the warm plan names and what is hot"
    if not may:
        return "not warmed: no warm plan names it, and it was not read in the last day"
    if is_cached:
        return "nothing to do: it is in the cache"
    score, needed = (
        (found.lately if now.in_force == COUNTS else found.probability),
        _needed(live, now.in_force),
    )
    if score < needed:
        return f"not warmed: {score:.3f} is below {needed:.3f}"
    return f"warmed at the next planning, if the budget reaches: {score:.3f} is {needed:.3f} or more"
