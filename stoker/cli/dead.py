"""`stoker dead`: jobs that will not run again by themselves, by cause; retry or discard them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import typer

from stoker.api import dead as routes
from stoker.api.access import Reader
from stoker.api.jobs import Job, job
from stoker.cli.display import show, table
from stoker.cli.opened import Json, Limit, Yes, confirm, show_either, show_model, us, with_stoker
from stoker.cli.servers import DATA, Data, Embedded
from stoker.errors import NotFound
from stoker.settings import Settings
from stoker.stoker import Stoker
from stoker.worker.engine.dead_letters import DeadLetters, Which

app = typer.Typer(help="Jobs that will not run again by themselves.", no_args_is_help=True)

Ask = Callable[[routes.WhichDead, Reader, Stoker], Awaitable[Any]]
Id = Annotated[int | None, typer.Argument(metavar="[ID]", help="One letter, as `dead list` shows it.")]
Kind = Annotated[str | None, typer.Option(help="All of this job: `refresh.v1`.")]
Fingerprint = Annotated[str | None, typer.Option(help="All of one cause, as `dead list --causes` shows it.")]
All = Annotated[bool, typer.Option("--all", help="Every one.")]


@app.command("list")
def list_(
    data: Data = DATA,
    fingerprint: Fingerprint = None,
    limit: Limit = 50,
    *,
    causes: Annotated[bool, typer.Option("--causes", help="Grouped by what they died of.")] = False,
    embedded: Embedded = False,
    as_json: Json = False,
) -> None:
    """List dead jobs, the latest first."""

    async def look(stoker: Stoker, _: Settings) -> routes.DeadGroups | routes.DeadJobs:
        if causes:
            return await routes.dead_groups(us(), stoker, limit)
        return await routes.dead(us(), stoker, limit, None, fingerprint)

    found = with_stoker(data, look, embedded=embedded)
    if as_json:
        show_model(found)
    elif isinstance(found, routes.DeadGroups):
        columns = ["fingerprint", "letters", "lane", "kind", "reason", "last_died_at", "error"]
        table("causes", columns, [[getattr(one, name) for name in columns] for one in found.groups])
    else:
        columns = ["id", "job_id", "lane", "kind", "reason", "attempts", "died_at", "error"]
        table("dead", columns, [[getattr(one, name) for name in columns] for one in found.dead])


@app.command("show")
def show_letter(
    letter: Annotated[int, typer.Argument(metavar="ID")],
    data: Data = DATA,
    *,
    embedded: Embedded = False,
    as_json: Json = False,
) -> None:
    """Show one dead job: arguments, error, traceback, runs."""

    async def look(stoker: Stoker, _: Settings) -> Job:
        kept = await DeadLetters(stoker.engine).list(Which(id=letter), limit=1)
        if not kept:
            raise NotFound(f"there is no dead letter {letter}: `stoker dead list` shows those there are")
        return await job(kept[0].job_id, us(), stoker)

    found = with_stoker(data, look, embedded=embedded)
    if as_json or found.dead is None:
        show_model(found)
        return
    facts = [(name, getattr(found, name)) for name in ("job_id", "lane", "kind", "scope", "arguments")]
    facts += [(name, getattr(found.dead, name)) for name in ("reason", "attempts", "died_at", "fingerprint")]
    table("dead", ["fact", "value"], facts)
    show(found.dead.traceback or found.dead.error)


def _decide(verb: str, help_: str, ask: Ask, say: Callable[[Any], str]) -> None:
    """Add a command that does something with dead jobs, one or many."""

    def command(  # noqa: PLR0913 - one for each option
        letter: Id = None,
        data: Data = DATA,
        kind: Kind = None,
        fingerprint: Fingerprint = None,
        *,
        everything: All = False,
        yes: Yes = False,
        embedded: Embedded = False,
        as_json: Json = False,
    ) -> None:
        which = _which(letter, kind, fingerprint, everything=everything)

        async def do(stoker: Stoker, _: Settings) -> Any:  # noqa: ANN401 - whatever was asked
            await _sure(stoker, which, verb, yes=yes)
            return await ask(which, us(), stoker)

        found = with_stoker(data, do, embedded=embedded)
        show_either(found, say(found), as_json=as_json)

    app.command(verb, help=help_)(command)


def _retried(found: routes.Retried) -> str:
    return f"retried {found.retried:,}" + (f", {found.unreadable:,} unreadable" if found.unreadable else "")


def _discarded(found: routes.Discarded) -> str:
    return f"discarded {found.discarded:,}"


_decide("retry", "Put dead jobs back into their lanes, as new jobs.", routes.retry, _retried)
_decide("discard", "Delete dead jobs for good.", routes.discard, _discarded)


def _which(
    letter: int | None, kind: str | None, fingerprint: str | None, *, everything: bool
) -> routes.WhichDead:
    if everything == any(one is not None for one in (letter, kind, fingerprint)):
        raise typer.BadParameter("give an ID, --kind or --fingerprint, or --all", param_hint="ID")
    return routes.WhichDead(id=letter, kind=kind, fingerprint=fingerprint, all=everything)


async def _sure(stoker: Stoker, which: routes.WhichDead, verb: str, *, yes: bool) -> None:
    if which.id is None and not yes:
        count = await DeadLetters(stoker.engine).count(which.which())
        confirm(f"{verb} {count:,} dead jobs?", yes=yes)
