"""`stoker dead`: jobs that will not run again by themselves, by cause; retry or discard them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import typer
from pydantic import BaseModel

from stoker.cli.display import models, show
from stoker.cli.jobs import draw_job
from stoker.cli.opened import Limit, On, Yes, checked, confirm, operator
from stoker.operations import dead, jobs
from stoker.operations.audit import Actor
from stoker.operations.dead import DeadGroups, DeadJobs, Discarded, WhichDead
from stoker.operations.jobs import JobDetail
from stoker.stoker import Stoker
from stoker.worker.engine.dead_letters import Retried

T = TypeVar("T", bound=BaseModel)
Act = Callable[[Stoker, Actor, WhichDead], Awaitable[T]]
app = typer.Typer(help="Jobs that will not run again by themselves.", no_args_is_help=True)

Id = Annotated[int | None, typer.Argument(metavar="[ID]", help="One letter, as `dead list` shows it.")]
Kind = Annotated[str | None, typer.Option(help="All of this kind: `refresh.v1`.")]
Fingerprint = Annotated[str | None, typer.Option(help="All of one cause, as `dead list --causes` shows it.")]
All = Annotated[bool, typer.Option("--all", help="Every one.")]


def _draw(found: DeadGroups | DeadJobs) -> None:
    if isinstance(found, DeadGroups):
        columns = ["fingerprint", "letters", "lane", "kind", "reason", "last_died_at", "error"]
        models("causes", columns, found.groups)
    else:
        columns = ["id", "job_id", "lane", "kind", "reason", "attempts", "died_at", "error"]
        models("dead", columns, found.dead)


def _say_retried(found: Retried) -> None:
    show(f"retried {found.retried}" + (f", {found.unreadable} unreadable" if found.unreadable else ""))


def _say_discarded(found: Discarded) -> None:
    show(f"discarded {found.discarded}")


@app.command("list")
@operator(_draw)
async def list_(
    on: On,
    fingerprint: Fingerprint = None,
    limit: Limit = 50,
    *,
    causes: Annotated[bool, typer.Option("--causes", help="Group by cause.")] = False,
) -> DeadGroups | DeadJobs:
    """List dead jobs, the latest first."""
    if causes:
        return await dead.causes(on.stoker, limit)
    if fingerprint is not None:
        with checked():
            WhichDead(fingerprint=fingerprint)
    return await dead.listing(on.stoker, limit, None, fingerprint)


@app.command("show")
@operator(draw_job)
async def show_letter(on: On, letter: Annotated[int, typer.Argument(metavar="ID")]) -> JobDetail:
    """Show one dead job: arguments, error, traceback, runs."""
    return await jobs.detail(on.stoker, await dead.job_of(on.stoker, letter))


def _on_chosen(verb: str, act: Act[T]) -> Callable[..., Awaitable[T]]:
    """A coroutine that retries or discards dead jobs."""

    async def work(
        on: On,
        letter: Id = None,
        kind: Kind = None,
        fingerprint: Fingerprint = None,
        *,
        everything: All = False,
        yes: Yes = False,
    ) -> T:
        if everything == any(one is not None for one in (letter, kind, fingerprint)):
            raise typer.BadParameter("give an ID, --kind or --fingerprint, or --all", param_hint="ID")
        with checked():
            which = WhichDead(id=letter, kind=kind, fingerprint=fingerprint, all=everything)
        if which.id is not None:
            await dead.job_of(on.stoker, which.id)
        elif not yes:
            confirm(f"{verb} {await dead.count(on.stoker, which)} dead jobs?")
        return await act(on.stoker, on.actor, which)

    return work


app.command("retry", help="Put dead jobs back into their lanes, as new jobs.")(
    operator(_say_retried)(_on_chosen("retry", dead.retry))
)
app.command("discard", help="Delete dead jobs for good.")(
    operator(_say_discarded)(_on_chosen("discard", dead.discard))
)
