"""Commands that wait for what they asked for: `invalidate`, `warm` and `verify`."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated

import typer
from pydantic import BaseModel

from stoker.cache.verdicts import Verdict as Checked
from stoker.cli.display import note, progress, show, table
from stoker.cli.listed import ListInvalidated, invalidate_list, said
from stoker.cli.opened import NotDone, On, operator
from stoker.errors import BadRequest, NotFound
from stoker.handlers.verify import verify_entries
from stoker.operations import cache
from stoker.operations.cache import InvalidationProgress, Recorded, WarmProgress
from stoker.operations.overview import overview
from stoker.operations.picture import Verdict
from stoker.queue.progress import JobState
from stoker.stoker import Stoker
from stoker.warm_plans import ACTIVE

POLL_S = 0.1
UNATTENDED_S = 10
"""Seconds after which a note says that no worker has started the job."""
ENDINGS = {JobState.FAILED: "the warming failed", JobState.CANCELLED: "the warming was cancelled"}

Kind = Annotated[str, typer.Argument(metavar="KIND", help="A scope kind of the domain.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="The scope's id.")]
Views = Annotated[list[str] | None, typer.Option("--view", help="Only this view; may be repeated.")]
From = Annotated[
    str | None,
    typer.Option("--from", metavar="FILE", help="A file with a scope a line; - is standard input."),
]


class Invalidated(Recorded):
    """An invalidation, and whether it is in effect."""

    applied: bool = False


class Warmed(BaseModel):
    """A warming, and how many entries it has done; None if the command did not wait."""

    id: str
    done: int | None = None


class StaleEntry(BaseModel):
    """How old a stale entry was, where it differs from SQL, and which rows were written since."""

    age_s: float
    differs: list[str]
    suspects: list[str]


class Verified(BaseModel):
    """How many entries have which verdict, and those that were stale."""

    verdicts: dict[str, int]
    stale: dict[str, StaleEntry]


def _say_invalidated(found: Invalidated | ListInvalidated) -> None:
    if isinstance(found, ListInvalidated):
        show(said(found))
        return
    show(f"{found.scope} is invalidated" if found.applied else f"{found.scope}: recorded as {found.id}")


def _say_warmed(found: Warmed) -> None:
    show(f"enqueued as {found.id}" if found.done is None else f"warmed {found.done} entries")


def _draw_verified(found: Verified) -> None:
    table("verified", ("verdict", "entries"), list(found.verdicts.items()))
    for key, one in found.stale.items():
        note(
            f"stale: {key}, built {one.age_s:.1f} s ago, invalidated now; differs in {', '.join(one.differs)}"
        )
        for suspect in one.suspects:
            note(f"  {suspect}")


@operator(_say_invalidated)
async def invalidate(  # noqa: PLR0913 - one for each option
    on: On,
    kind: Annotated[str | None, typer.Argument(metavar="KIND", help="A scope kind of the domain.")] = None,
    scope_id: Annotated[str | None, typer.Argument(metavar="ID", help="The scope's id.")] = None,
    view: Views = None,
    from_: From = None,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait until it is applied.")] = 5,
    *,
    hard: Annotated[
        bool, typer.Option("--hard", help="Never serve the old value again, even if a load fails.")
    ] = False,
) -> Invalidated | ListInvalidated:
    """Invalidate a scope: recorded like any change, applied by the worker. Exit 1 if that takes too long.

    With --from: many scopes, one a line, in one transaction. A line is KIND:ID, then views and the word
    `hard` where they are wanted: `order:42 page hard`. What follows # is a comment. If a line is
    wrong, nothing is done. --view is for lines that name no view, --hard for all lines.

    Example: psql -Atc "SELECT 'order:' || id FROM imported" | stoker invalidate --from -
    """
    if from_ is not None:
        if kind is not None:
            raise BadRequest("give KIND and ID, or --from, not both", field="from")
        return await invalidate_list(on, from_, view or (), wait, hard=hard)
    if kind is None or scope_id is None:
        raise BadRequest("name what to invalidate: KIND and ID, or --from FILE", field="kind")
    recorded = await cache.invalidate(on.stoker, on.actor, kind, scope_id, view or (), hard=hard)
    found = Invalidated(**recorded.model_dump())
    if wait:
        note(f"recorded as {found.id}")
        last = await _applied(on.stoker, int(found.id), wait)
        if last is not None:
            raise NotDone(f"not applied within {wait:g} s: {last.error or await _why(on)}", found)
        found.applied = True
    return found


@operator(_say_warmed)
async def warm(
    on: On,
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="`active`, or a scope kind that the domain can warm.")
    ] = ACTIVE,
    scope_id: Annotated[
        str | None, typer.Argument(metavar="ID", help="The id to warm; none for `active`.")
    ] = None,
    timeout_s: Annotated[
        float, typer.Option("--timeout", min=0, help="Seconds to wait; 0 does not wait.")
    ] = 900,
) -> Warmed:
    """Build missing or expiring entries, and show progress. Exit 1 if that fails or takes too long."""
    found = Warmed(id=await cache.warm(on.stoker, on.actor, target, scope_id))
    if timeout_s:
        note(f"enqueued as {found.id}")
        last = await _followed(on, found.id, timeout_s)
        if last.state in ENDINGS:
            raise NotDone(": ".join(filter(None, (ENDINGS[last.state], last.error))), found)
        if last.state is not JobState.DONE:
            raise NotDone(f"not done within {timeout_s:g} s; it continues as {found.id}", found)
        found.done = last.done
        if scope_id is not None and not last.total:
            raise NotDone(f"{target} {scope_id} does not exist: there is nothing to warm for it", found)
    return found


@operator(_draw_verified)
async def verify(
    on: On,
    entries: Annotated[int, typer.Option(min=1, max=100_000, help="How many entries at most.")] = 500,
) -> Verified:
    """Compare cached entries with SQL; exit 1 if one is stale. A stale entry is invalidated."""
    with progress("comparing with SQL") as report:
        checked = await verify_entries(on.stoker, entries, report)
    found = Verified(
        verdicts={str(verdict): checked.counts[verdict] for verdict in Checked},
        stale={
            str(key): StaleEntry(
                age_s=round(one.age.total_seconds(), 3), differs=one.differs, suspects=one.suspects
            )
            for key, one in checked.stale.items()
        },
    )
    if found.stale:
        raise NotDone(f"{len(found.stale)} stale: a change was not recorded, or its rule is wrong", found)
    return found


async def _why(on: On) -> str:
    """The likely reason why a change or a job waits."""
    seen = await overview(on.stoker, on.settings.api.probe_timeout_s)
    wrong = [concern.says for concern in seen.concerns if concern.verdict is Verdict.WRONG]
    return "; ".join(wrong) or "no reason was found; `stoker status` shows what the worker does"


async def _applied(stoker: Stoker, event_id: int, within_s: float) -> InvalidationProgress | None:
    """None once it is applied, or its last state when the time is over."""
    give_up = time.monotonic() + within_s
    while True:
        try:
            last = await cache.invalidation(stoker, event_id)
        except NotFound:  # pruned: it was applied long ago
            return None
        if last.applied_at is not None:
            return None
        if time.monotonic() >= give_up:
            return last
        await asyncio.sleep(POLL_S)


async def _followed(on: On, job_id: str, within_s: float) -> WarmProgress:
    """The last report of a warming that has ended, or whose time is over."""
    began = time.monotonic()
    remarked = False
    with progress("warming") as report:
        while True:
            last = await cache.warming(on.stoker, job_id)
            report(last.done, last.total)
            waited_s = time.monotonic() - began
            if last.state in (*ENDINGS, JobState.DONE) or waited_s > within_s:
                return last
            if last.state is JobState.QUEUED and waited_s > UNATTENDED_S and not remarked:
                note(f"no worker has started it yet: {await _why(on)}")
                remarked = True
            await asyncio.sleep(POLL_S)
