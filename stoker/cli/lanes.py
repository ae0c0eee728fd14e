"""`stoker lanes`: how deep each is; pause, resume, and set how many of its jobs run at once."""

from __future__ import annotations

from typing import Annotated

import typer

from stoker.cli.display import show, table
from stoker.cli.lines import LANE, lane_rows
from stoker.cli.opened import On, operator
from stoker.jobs import Lane
from stoker.operations import lanes
from stoker.operations.lanes import LanePause, Lanes, LaneSlotsSet

app = typer.Typer(help="Lanes: list, pause, resume, set their slots.", no_args_is_help=True)

TheLane = Annotated[Lane, typer.Argument(metavar="LANE", help="As `lanes list` shows it.")]
Slots = Annotated[
    int,
    typer.Argument(
        metavar="SLOTS", min=0, max=1000, help="Concurrent jobs; 0: the number in each worker's settings."
    ),
]


def draw(found: Lanes) -> None:
    """Print the lanes."""
    table("lanes", ["lane", *LANE], lane_rows(found.lanes))


def _say_paused(found: LanePause) -> None:
    show(f"{found.lane} is {'paused' if found.paused else 'resumed'}")


def _say_slots(found: LaneSlotsSet) -> None:
    slots = f"{found.slots} slots in each worker" if found.slots else "as each worker's settings say"
    show(f"{found.lane}: {slots}")


@app.command("list")
@operator(draw)
async def list_(on: On) -> Lanes:
    """List the lanes with their depths; `slots` only where they were set for every worker."""
    return await lanes.listing(on.stoker)


@app.command("pause")
@operator(_say_paused)
async def pause(on: On, lane: TheLane) -> LanePause:
    """Stop workers from starting jobs of the lane; running jobs go on. Changes are still applied."""
    return await lanes.pause(on.stoker, on.actor, lane)


@app.command("resume")
@operator(_say_paused)
async def resume(on: On, lane: TheLane) -> LanePause:
    """End a pause."""
    return await lanes.resume(on.stoker, on.actor, lane)


@app.command("set")
@operator(_say_slots)
async def set_(on: On, lane: TheLane, slots: Slots) -> LaneSlotsSet:
    """Set how many jobs of the lane run at once in each worker. Takes effect within two seconds."""
    return await lanes.set_slots(on.stoker, on.actor, lane, slots or None)
