"""`stoker workers`: which processes run, what each does; keep one quiet. `stoker capacity`: enough slots."""

from __future__ import annotations

from typing import Annotated

import typer

from stoker.cli.display import show, table
from stoker.cli.opened import On, operator
from stoker.operations import workers
from stoker.operations.workers import Capacity, Quiet, Workers

app = typer.Typer(help="Worker processes: list them, keep one quiet.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="host:pid, as `workers list` shows it.")]
COLUMNS = ("worker", "state", "busy", "slots", "memory_mib", "silent_s", "release", "since", "lanes")
LANES = ("lane", "slots", "workers", "used", "busy_min", "ready", "done_per_s", "drain_s", "paused")


def _draw(found: Workers) -> None:
    rows = [
        (
            one.name,
            str(one.state),
            one.busy,
            one.slots,
            round(one.memory_bytes / 2**20),
            round(one.silent_s),
            one.release,
            one.started_at,
            ", ".join(f"{lane} {of.busy}/{of.slots} {of.used:.0%}" for lane, of in one.lanes.items()),
        )
        for one in found.workers
    ]
    table("workers", COLUMNS, rows)


def _draw_capacity(found: Capacity) -> None:
    rows = [
        (
            name,
            one.slots,
            one.workers,
            None if one.used is None else f"{one.used:.0%}",
            one.busy_min,
            one.ready,
            one.done_per_s,
            one.drain_s,
            one.paused,
        )
        for name, one in found.lanes.items()
    ]
    table("lanes", LANES, rows)
    for lane in found.lanes.values():
        if lane.suggestion:
            show(lane.suggestion)
    show(f"workers: {found.workers}, wanted: {found.workers_wanted}")


def _say(found: Quiet) -> None:
    show(f"{found.name} {'takes no new jobs' if found.quiet else 'takes jobs again'}, within seconds")


@app.command("list")
@operator(_draw)
async def list_(
    on: On, hours: Annotated[int, typer.Option(min=1, max=720, help="How far back.")] = 1
) -> Workers:
    """List worker processes: what they run, busy slots, memory, release, last report."""
    return await workers.listing(on.stoker, hours)


@app.command("quiet")
@operator(_say)
async def quiet(on: On, name: Name) -> Quiet:
    """Let a worker take no new jobs; running ones go on, and it still applies changes each second."""
    return await workers.set_quiet(on.stoker, on.actor, name, quiet=True)


@app.command("resume")
@operator(_say)
async def resume(on: On, name: Name) -> Quiet:
    """Let a quiet worker take jobs again."""
    return await workers.set_quiet(on.stoker, on.actor, name, quiet=False)


@operator(_draw_capacity)
async def capacity(on: On) -> Capacity:
    """Show how much of the workers' slots is used, how long each backlog takes, and what would help."""
    return await workers.capacity(on.stoker)
