"""Figures of the cache: each view's reads and misses, changes that are not applied, what was verified.

Reads counters, never entries. Raises CacheUnavailable or DatabaseUnavailable; callers decide what to show in
that case.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Self

from pydantic import BaseModel

from stoker.cache.accounting import read_counters
from stoker.cache.verdicts import Verdict, verified
from stoker.history.series import MISS
from stoker.jobs import Outcome
from stoker.outbox.rows import Backlog, backlog
from stoker.stoker import Stoker


class ViewReads(BaseModel):
    """Reads of one view. A hit is an answer without any SQL; rates are None without reads."""

    reads: int
    hits: int
    hit_rate: float | None
    misses: dict[str, int]
    stale: int
    loads: int
    build_ms: float | None

    @classmethod
    def of(cls, counters: Mapping[str, float], **more: int) -> Self:
        """A view's figures, for the period of its counters."""
        misses = {
            name[len(MISS) :]: round(n) for name, n in sorted(counters.items()) if name.startswith(MISS)
        }
        hits, loads = round(counters.get("hits", 0)), round(counters.get("loads", 0))
        reads = hits + sum(misses.values())
        return cls(
            reads=reads,
            hits=hits,
            hit_rate=round(hits / reads, 4) if reads else None,
            misses=misses,
            stale=round(counters.get("stale", 0)),
            loads=loads,
            build_ms=round(counters.get("load_us", 0) / loads / 1000, 3) if loads else None,
            **more,
        )


class ViewFigures(ViewReads):
    """One view over all processes, since its counters began."""

    load_errors: int
    stored: int
    superseded: int
    body_bytes: int
    stored_bytes: int

    @classmethod
    def counted(cls, counters: Mapping[str, int]) -> ViewFigures:
        """The figures that follow from a view's counters."""
        names = ("load_errors", Outcome.STORED, Outcome.SUPERSEDED, "body_bytes", "stored_bytes")
        return cls.of(counters, **{str(name): counters.get(name, 0) for name in names})


class VerifiedFigures(BaseModel):
    """The results of comparing samples with SQL in the last days.

    `share` of the checked entries was not stale; `nines` is the share as a number of nines (3.0 is
    99.9 %), never more than the number of checked entries can prove. Both are None before the first check.
    """

    checked: int
    stale: int
    changed: int
    undecided: int
    stale_age_s: float
    share: float | None
    nines: float | None
    last_at: datetime | None


class CacheFigures(BaseModel):
    """Whether the cache is right (changes, verified) and warm (views)."""

    views: dict[str, ViewFigures]
    changes: Backlog
    verified: VerifiedFigures


async def view_counters(stoker: Stoker, *others: str) -> Mapping[str, Mapping[str, int]]:
    """The raw counters of every view, and the others."""
    store = stoker.cache.store
    return await read_counters(store.client, store.keys, [*sorted(stoker.domain.views_by_name), *others])


async def cache_figures(stoker: Stoker) -> CacheFigures:
    """Every view's figures and the outbox's."""
    counters = await view_counters(stoker)
    return CacheFigures(
        views={name: ViewFigures.counted(found) for name, found in counters.items()},
        changes=await backlog(stoker.engine),
        verified=await verified_figures(stoker),
    )


async def verified_figures(stoker: Stoker) -> VerifiedFigures:
    """What the verifier published."""
    store = stoker.cache.store
    found = await verified(store.client, store.keys)
    return VerifiedFigures(
        checked=found.checked,
        stale=found.counts[Verdict.STALE],
        changed=found.counts[Verdict.CHANGED],
        undecided=found.counts[Verdict.UNDECIDED],
        stale_age_s=found.stale_age_s,
        share=found.share,
        nines=found.nines,
        last_at=found.last_at,
    )
