"""Commands of an operator: `invalidate` and `warm`; audited like the same actions through the API."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Annotated

import typer

from stoker.cli.display import note, progress, show, show_json
from stoker.cli.servers import DATA, Data, Embedded, session
from stoker.domain import ACTIVE
from stoker.errors import StokerError
from stoker.operations import actions
from stoker.operations.audit import local_actor
from stoker.queue.progress import JobState, Progress
from stoker.settings import Settings
from stoker.stoker import Stoker

LOOK_S = 0.1
UNATTENDED_S = 10
"""Seconds after which a job that nobody has begun is remarked upon."""

Json = Annotated[bool, typer.Option("--json", help="For programs.")]
ScopeId = Annotated[str | None, typer.Argument(help="The id of what to warm; none for `active`.")]


@dataclass(frozen=True)
class _Invalidation:
    kind: str
    scope_id: str
    views: list[str]
    wait_s: float
    hard: bool
    as_json: bool


class NotDone(StokerError):
    """What was asked for is on its way, but was not done in the time given to it."""


def invalidate(  # noqa: PLR0913 - one for each option
    kind: Annotated[str, typer.Argument(help="A scope kind of the domain.")],
    scope_id: Annotated[str, typer.Argument(metavar="ID")],
    data: Data = DATA,
    view: Annotated[list[str] | None, typer.Option(help="Only this view; may be given again.")] = None,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait until it is applied.")] = 5,
    *,
    hard: Annotated[bool, typer.Option("--hard", help="Not even marked stale any more.")] = False,
    embedded: Embedded = False,
    as_json: Json = False,
) -> None:
    """Invalidate a scope: recorded like any change, applied by the worker."""
    with session(embedded=embedded, data=data) as opened:
        asked = _Invalidation(kind, scope_id, view or [], wait, hard=hard, as_json=as_json)
        asyncio.run(_invalidate(opened.settings, asked))


def warm(
    target: Annotated[
        str, typer.Argument(help="`active`, or a scope kind that the domain can warm.")
    ] = ACTIVE,
    scope_id: ScopeId = None,
    data: Data = DATA,
    timeout: Annotated[float, typer.Option(min=0, help="Seconds to wait; 0 does not wait.")] = 900,
    *,
    embedded: Embedded = False,
    as_json: Json = False,
) -> None:
    """Build what is missing or ageing, and show how far it is."""
    with session(embedded=embedded, data=data) as opened:
        asyncio.run(_warm(opened.settings, target, scope_id, timeout, as_json=as_json))


async def _invalidate(settings: Settings, asked: _Invalidation) -> None:
    async with Stoker.opened(settings) as stoker:
        what = actions.invalidation_of(
            stoker.domain, asked.kind, asked.scope_id, asked.views, hard=asked.hard
        )
        event_id = await actions.invalidate(stoker, local_actor(), what)
        note(f"recorded as {event_id}")
        applied = bool(asked.wait_s) and await _applied(stoker, event_id, asked.wait_s)
        if asked.as_json:
            show_json({"id": str(event_id), "scope": str(what.scope), "applied": applied})
        elif applied:
            show(f"{what.scope} is invalidated")
        if asked.wait_s and not applied:
            raise NotDone(f"not applied within {asked.wait_s:g} s: is a worker running?")


async def _applied(stoker: Stoker, event_id: int, within_s: float) -> bool:
    give_up = time.monotonic() + within_s
    while True:
        found = await actions.invalidation_state(stoker, event_id)
        if found is None or found.applied_at is not None:
            return True
        if time.monotonic() >= give_up:
            return False
        await asyncio.sleep(LOOK_S)


async def _warm(
    settings: Settings, target: str, scope_id: str | None, timeout_s: float, *, as_json: bool
) -> None:
    async with Stoker.opened(settings) as stoker:
        what = actions.warm_of(stoker.domain, target, scope_id)
        job_id = await actions.warm(stoker, local_actor(), what)
        note(f"enqueued as {job_id}")
        done = None
        if timeout_s:
            reports = Progress(stoker.queue.redis, stoker.queue.settings)
            done = await _follow(reports, job_id, timeout_s)
        if as_json:
            show_json({"id": job_id, "done": done})
        elif done is not None:
            show(f"warmed {done:,} entries")


async def _follow(reports: Progress, job_id: str, timeout_s: float) -> int:
    began = time.monotonic()
    remarked = False
    with progress("warming") as report:
        while True:
            found = await reports.read(job_id)
            waited_s = time.monotonic() - began
            if found is not None:
                report(found.done, found.total)
                if found.state is JobState.FAILED:
                    raise StokerError(f"the warming failed: {found.error}")
                if found.state is JobState.CANCELLED:
                    raise StokerError("the warming was cancelled")
                if found.state is JobState.DONE:
                    break
                if found.state is JobState.QUEUED and waited_s > UNATTENDED_S and not remarked:
                    note("nobody has begun it yet: is a worker running?")
                    remarked = True
            if waited_s > timeout_s:
                raise NotDone(f"not done within {timeout_s:g} s; it goes on as {job_id}")
            await asyncio.sleep(LOOK_S)
    return found.done
