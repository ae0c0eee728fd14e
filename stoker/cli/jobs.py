"""`stoker jobs`: list jobs; show, enqueue and cancel one."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from stoker.cache.view import LARGEST_ID
from stoker.cli.display import models, show, table
from stoker.cli.lines import BATCH
from stoker.cli.opened import Before, Limit, NotDone, On, checked, operator
from stoker.jobs import Lane
from stoker.operations import batches, jobs
from stoker.operations.batches import BatchList
from stoker.operations.jobs import Asked, Cancelled, Choice, Ended, JobDetail, JobList
from stoker.operations.live_jobs import LiveState
from stoker.queue.answers import CancelAnswer

app = typer.Typer(help="Jobs: list, show, enqueue, cancel; batches of them.", no_args_is_help=True)

JobId = Annotated[str, typer.Argument(metavar="JOB_ID", help="As `jobs list` shows it.")]
LONGEST_DELAY_S = 365 * 86_400
STATES = ", ".join([*LiveState, *Ended])


def _draw(found: JobList) -> None:
    unsearched = found.live_searched < found.live_of
    if found.live or unsearched or not found.ended:
        title = "in the queue"
        if found.live_of > len(found.live):
            title += f": {len(found.live)} shown, {found.live_searched:,} of {found.live_of:,} searched"
        if unsearched:
            title += f"; --skip {found.live_searched} goes on"
        models(title, ["job_id", "kind", "state", "scope", "view", "lane", "due_at", "fair_key"], found.live)
    if found.ended:
        run = ["job_id", "kind", "state", "scope", "view", "lane", "outcome", "attempt", "ran_s", "ended_at"]
        title = f"ended: {len(found.ended)} of {found.ended_of:,} kept"
        if len(found.ended) < found.ended_of:
            title += f"; --before {found.ended[-1].id} goes on"
        models(title, [*run, "worker", "summary"], found.ended)


def draw_batches(found: BatchList, title: str = "batches") -> None:
    """Print batches."""
    models(title, BATCH, found.batches)


def draw_job(found: JobDetail) -> None:
    """Print all of one job."""
    facts = ["job_id", "lane", "kind", "scope", "arguments"]
    table("job", ["fact", "value"], [(name, getattr(found, name)) for name in facts])
    if found.live is not None:
        models("in the queue", ["state", "fair_key", "due_at", "enqueued_at"], [found.live])
    if found.progress is not None and found.progress.total:
        models("progress", ["done", "total", "updated_at"], [found.progress])
    if found.result is not None:
        models("result", ["state", "size_bytes", "expires_at", "says"], [found.result])
        if found.result.text is not None:
            show(found.result.text)
    if found.batch is not None:
        models("batch", BATCH, [found.batch])
    if found.runs:
        run = ["attempt", "state", "outcome", "waited_s", "ran_s", "ended_at", "worker", "summary"]
        models("runs", run, found.runs)
    if found.dead is not None:
        models("dead", ["id", "reason", "attempts", "died_at", "fingerprint"], [found.dead])
        show(found.dead.traceback or found.dead.error)


def _say_asked(found: Asked) -> None:
    show(f"{found.job_id}: {found.answer} in {found.lane}")


def _say_cancelled(found: Cancelled) -> None:
    show(f"{found.job_id}: {found.answer}")


@app.command("list")
@operator(_draw)
async def list_(  # noqa: PLR0913 - one for each filter
    on: On,
    state: Annotated[str | None, typer.Option(help=f"One of: {STATES}. Default: running and ended.")] = None,
    lane: Annotated[Lane | None, typer.Option(help="Only of this lane.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only jobs of this kind: `refresh.v1`.")] = None,
    scope: Annotated[str | None, typer.Option(help="Only about this scope, as KIND:ID.")] = None,
    error: Annotated[str | None, typer.Option(help="Only jobs whose error contains this.")] = None,
    *,
    limit: Limit = 50,
    before: Before = None,
    skip: Annotated[
        int, typer.Option(min=0, max=LARGEST_ID, help="Jobs in the queue that were searched already.")
    ] = 0,
) -> JobList:
    """List running and ended jobs, or those of one state."""
    if state is not None and state not in STATES.split(", "):
        raise typer.BadParameter(f"use one of: {STATES}", param_hint="--state")
    with checked():
        chosen = {"state": state, "lane": lane, "kind": kind, "scope": scope, "error": error}
        asked = Choice.model_validate({**chosen, "limit": limit, "before": before, "skip": skip})
    return await jobs.listing(on.stoker, asked)


@app.command("show")
@operator(draw_job)
async def show_job(on: On, job_id: JobId) -> JobDetail:
    """Show one job: arguments, runs, errors, and its result if one is kept, at most 10,000 bytes of it."""
    return await jobs.detail(on.stoker, job_id)


@app.command("batches")
@operator(draw_batches)
async def list_batches(on: On, limit: Limit = 50) -> BatchList:
    """List open batches and those that ended within a day: how many jobs ended how."""
    return await batches.listing(on.stoker, limit)


@app.command("enqueue")
@operator(_say_asked)
async def enqueue(
    on: On,
    kind: Annotated[
        str, typer.Argument(metavar="KIND", help="A kind of the domain or of Stoker: `warm.v1`.")
    ],
    arguments: Annotated[str, typer.Argument(metavar="JSON", help="Its arguments as a JSON object.")] = "{}",
    delay: Annotated[float, typer.Option(min=0, max=LONGEST_DELAY_S, help="Seconds until it may begin.")] = 0,
) -> Asked:
    """Enqueue a job; exit 2 for a kind or arguments that no handler takes."""
    return await jobs.enqueue(on.stoker, on.actor, kind, _read(arguments), delay)


def _read(arguments: str) -> Any:  # noqa: ANN401 - JSON
    try:
        return json.loads(arguments)
    except ValueError as error:
        raise typer.BadParameter(f"no JSON: {error}", param_hint="JSON") from error


@app.command("cancel")
@operator(_say_cancelled)
async def cancel(on: On, job_id: JobId) -> Cancelled:
    """End a waiting or running job for good; exit 1 if it does neither, or a stock arq worker runs it."""
    found = await jobs.cancel(on.stoker, on.actor, job_id)
    if found.answer is CancelAnswer.NOT_FOUND:
        raise NotDone(f"{job_id} neither waits nor runs: there is nothing to cancel", found)
    if found.answer is CancelAnswer.RUNS_ELSEWHERE:
        raise NotDone(f"a stock arq worker runs {job_id}: it ends only if that worker allows aborts", found)
    return found
