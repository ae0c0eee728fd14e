"""`stoker dead`: jobs that will not run again by themselves, by cause; retry or discard them."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import typer
from pydantic import BaseModel

from stoker.cli.display import models, show
from stoker.cli.jobs import draw_job
from stoker.cli.opened import Before, Limit, On, Yes, checked, confirm, operator
from stoker.operations import dead, jobs
from stoker.operations.audit import Actor
from stoker.operations.dead import (
    FINGERPRINT,
    DeadFilter,
    DeadGroups,
    DeadJobs,
    Discarded,
    RetriedDead,
    WhichDead,
)
from stoker.operations.jobs import JobDetail
from stoker.stoker import Stoker

T = TypeVar("T", bound=BaseModel)
Act = Callable[[Stoker, Actor, WhichDead], Awaitable[T]]
app = typer.Typer(help="Jobs that will not run again by themselves.", no_args_is_help=True)


def _whole(given: str | None) -> str | None:
    if given is not None and not re.match(FINGERPRINT, given):
        raise typer.BadParameter("a fingerprint is 32 hex digits: `stoker dead list --causes` shows them")
    return given


Id = Annotated[int | None, typer.Argument(metavar="ID", help="One letter, as `dead list` shows it.")]
Kind = Annotated[str | None, typer.Option(help="Only of this kind: `refresh.v1`.")]
View = Annotated[str | None, typer.Option(help="Only refreshes of this view.")]
Error = Annotated[str | None, typer.Option(metavar="TEXT", help="Only with this text in the error.")]
Since = Annotated[
    str | None, typer.Option(metavar="WHEN", help="Only since then: 2h, 14:00, 2026-01-31T14:00 (UTC).")
]
Fingerprint = Annotated[
    str | None,
    typer.Option(callback=_whole, help="Only of one cause, as `dead list --causes` shows it."),
]
All = Annotated[bool, typer.Option("--all", help="Every one.")]


def _draw(found: DeadGroups | DeadJobs) -> None:
    if isinstance(found, DeadGroups):
        columns = ["fingerprint", "letters", "lane", "kind", "reason", "last_died_at", "summary"]
        models("causes", columns, found.groups)
    else:
        columns = ["id", "kind", "view", "scope", "died_at", "attempts", "lane", "job_id", "summary"]
        shown = f"dead letters: {len(found.dead)} of {found.matching:,} that match, {found.of:,} in all"
        models(shown, columns, found.dead)


def _say_retried(found: RetriedDead) -> None:
    unreadable = f", {found.unreadable:,} unreadable" if found.unreadable else ""
    show(f"retried {found.retried:,} of {found.matched:,}{unreadable}; {found.left:,} dead letters are left")


def _say_discarded(found: Discarded) -> None:
    show(f"discarded {found.discarded:,} of {found.matched:,}; {found.left:,} dead letters are left")


@app.command("list")
@operator(_draw)
async def list_(  # noqa: PLR0913 - one for each filter
    on: On,
    *,
    kind: Kind = None,
    view: View = None,
    error: Error = None,
    since: Since = None,
    fingerprint: Fingerprint = None,
    limit: Limit = 50,
    before: Before = None,
    causes: Annotated[bool, typer.Option("--causes", help="Group by cause.")] = False,
) -> DeadGroups | DeadJobs:
    """List dead jobs, the latest first."""
    with checked():
        asked = DeadFilter.model_validate(
            {"kind": kind, "view": view, "error": error, "since": since, "fingerprint": fingerprint}
        )
    if causes:
        return await dead.causes(on.stoker, limit, asked)
    return await dead.listing(on.stoker, asked, limit, before)


@app.command("show")
@operator(draw_job)
async def show_letter(
    on: On, letter: Annotated[int, typer.Argument(metavar="ID", help="As `dead list` shows it.")]
) -> JobDetail:
    """Show one dead job: arguments, error, traceback, runs."""
    return await jobs.detail(on.stoker, await dead.job_of(on.stoker, letter))


def _on_chosen(verb: str, act: Act[T]) -> Callable[..., Awaitable[T]]:
    """A coroutine that retries or discards dead jobs."""

    async def work(  # noqa: PLR0913 - one for each filter
        on: On,
        letter: Id = None,
        *,
        kind: Kind = None,
        view: View = None,
        error: Error = None,
        since: Since = None,
        fingerprint: Fingerprint = None,
        everything: All = False,
        yes: Yes = False,
    ) -> T:
        given = {
            "id": letter,
            "kind": kind,
            "view": view,
            "error": error,
            "since": since,
            "fingerprint": fingerprint,
        }
        if everything == any(one is not None for one in given.values()):
            filters = "--kind, --view, --error, --since or --fingerprint"
            raise typer.BadParameter(f"give an ID, {filters}, or --all", param_hint="ID")
        with checked():
            which = WhichDead.model_validate({**given, "all": everything})
        if which.id is not None:
            await dead.job_of(on.stoker, which.id)
        elif not yes:
            found = await dead.count(on.stoker, which)
            confirm(f"{verb} {found.letters:,} of {found.of:,} dead letters?")
            which = which.model_copy(update={"up_to": found.newest})
        return await act(on.stoker, on.actor, which)

    return work


app.command("retry", help="Put dead jobs back into their lanes, as new jobs.")(
    operator(_say_retried)(_on_chosen("retry", dead.retry))
)
app.command("discard", help="Delete dead jobs for good.")(
    operator(_say_discarded)(_on_chosen("discard", dead.discard))
)
