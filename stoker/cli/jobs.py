"""`stoker jobs`: what waits, runs and ended; one job; cancel one."""

from __future__ import annotations

from typing import Annotated

import typer

from stoker.api import jobs as routes
from stoker.cli.display import show, table
from stoker.cli.opened import Json, Limit, show_either, show_model, us, with_stoker
from stoker.cli.servers import DATA, Data, Embedded
from stoker.errors import StokerError
from stoker.jobs import Lane
from stoker.operations.listings import LiveState
from stoker.queue.enqueue import CancelAnswer

app = typer.Typer(help="Jobs that wait, run and ended; cancel one.", no_args_is_help=True)

JobId = Annotated[str, typer.Argument(metavar="JOB_ID", help="As `jobs list` shows it.")]
STATES = ", ".join([*LiveState, *routes.Ended])


class NothingToCancel(StokerError):
    """A job that neither waits nor runs."""


@app.command("list")
def list_(  # noqa: PLR0913 - one for each filter
    data: Data = DATA,
    state: Annotated[str | None, typer.Option(help=f"One of: {STATES}. Default: running and ended.")] = None,
    lane: Annotated[Lane | None, typer.Option(help="Only of this lane.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only of this job: `refresh.v1`.")] = None,
    scope: Annotated[str | None, typer.Option(help="Only about this scope, as KIND:ID.")] = None,
    error: Annotated[str | None, typer.Option(help="Only with this in the error.")] = None,
    *,
    limit: Limit = 50,
    embedded: Embedded = False,
    as_json: Json = False,
) -> None:
    """List jobs: what runs now and what ended, or those of one state."""
    if state is not None and state not in STATES.split(", "):
        raise typer.BadParameter(f"there is {STATES}", param_hint="--state")
    asked = routes.Choice.model_validate(
        {"state": state, "lane": lane, "kind": kind, "scope": scope, "error": error, "limit": limit}
    )
    found = with_stoker(data, lambda stoker, _: routes.jobs(us(), stoker, asked), embedded=embedded)
    if as_json:
        show_model(found)
        return
    live = ["job_id", "lane", "kind", "state", "scope", "due_at"]
    if found.live or not found.ended:
        table("in the queue", live, [[getattr(job, name) for name in live] for job in found.live])
    ended = ["job_id", "lane", "kind", "state", "outcome", "attempt", "scope", "ran_s", "ended_at", "error"]
    if found.ended:
        table("ended", ended, [[getattr(job, name) for name in ended] for job in found.ended])


@app.command("show")
def show_job(job_id: JobId, data: Data = DATA, *, embedded: Embedded = False, as_json: Json = False) -> None:
    """Show one job: arguments, runs, errors."""
    found = with_stoker(data, lambda stoker, _: routes.job(job_id, us(), stoker), embedded=embedded)
    if as_json:
        show_model(found)
        return
    facts = ["job_id", "lane", "kind", "scope", "arguments"]
    table("job", ["fact", "value"], [(name, getattr(found, name)) for name in facts])
    if found.live is not None:
        state = ["state", "due_at", "enqueued_at"]
        table("in the queue", state, [[getattr(found.live, name) for name in state]])
    runs = ["attempt", "state", "outcome", "waited_s", "ran_s", "ended_at", "error"]
    if found.runs:
        table("runs", runs, [[getattr(run, name) for name in runs] for run in found.runs])
    if found.dead is not None:
        dead = ["id", "reason", "attempts", "died_at", "error"]
        table("dead", dead, [[getattr(found.dead, name) for name in dead]])
        show(found.dead.traceback or "")


@app.command()
def cancel(job_id: JobId, data: Data = DATA, *, embedded: Embedded = False, as_json: Json = False) -> None:
    """End a waiting or running job for good; exit 1 if it does neither."""
    found = with_stoker(data, lambda stoker, _: routes.cancel(job_id, us(), stoker), embedded=embedded)
    if as_json or found.answer is not CancelAnswer.NOT_FOUND:
        show_either(found, f"{job_id}: {found.answer}", as_json=as_json)
    if found.answer is CancelAnswer.NOT_FOUND:
        raise NothingToCancel(f"{job_id} neither waits nor runs")
