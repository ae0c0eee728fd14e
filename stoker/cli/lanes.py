"""`stoker lanes`: how deep each is; pause, resume, and set how many of its jobs run at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

import typer

from stoker.api import lanes as routes
from stoker.api.access import Reader
from stoker.cli.display import table
from stoker.cli.opened import Json, show_either, show_model, us, with_stoker
from stoker.cli.servers import DATA, Data, Embedded
from stoker.jobs import Lane
from stoker.stoker import Stoker

app = typer.Typer(help="Lanes: list, pause, resume, set their slots.", no_args_is_help=True)

Ask = Callable[[Lane, Reader, Stoker], Awaitable[routes.LanePause]]
TheLane = Annotated[Lane, typer.Argument(metavar="LANE", help="changes, refresh or warm.")]
COLUMNS = ["ready", "deferred", "running", "parked", "dead", "oldest_ready_age_s", "paused", "slots"]


@app.command("list")
def list_(data: Data = DATA, *, embedded: Embedded = False, as_json: Json = False) -> None:
    """How deep each lane is; `slots` only where they were set for every worker."""
    found = with_stoker(data, lambda stoker, _: routes.queues(us(), stoker), embedded=embedded)
    if as_json:
        show_model(found)
    else:
        rows = [[name, *(getattr(lane, what) for what in COLUMNS)] for name, lane in found.lanes.items()]
        table("lanes", ["lane", *COLUMNS], rows)


def _steer(verb: str, help_: str, ask: Ask, said: str) -> None:
    """Add a command that asks something for one lane."""

    def command(
        lane: TheLane, data: Data = DATA, *, embedded: Embedded = False, as_json: Json = False
    ) -> None:
        found = with_stoker(data, lambda stoker, _: ask(lane, us(), stoker), embedded=embedded)
        show_either(found, f"{lane} is {said}", as_json=as_json)

    app.command(verb, help=help_)(command)


_steer(
    "pause",
    "Let no worker begin a job of the lane; running ones go on. Changes are applied all the same.",
    routes.pause,
    "paused",
)
_steer("resume", "End a pause.", routes.resume, "resumed")


@app.command("set")
def set_(
    lane: TheLane,
    slots: Annotated[
        int, typer.Argument(min=0, max=1000, help="Jobs at once; 0: as each worker's settings say.")
    ],
    data: Data = DATA,
    *,
    embedded: Embedded = False,
    as_json: Json = False,
) -> None:
    """Set how many jobs of the lane run at once in each worker, until it is set again; within two seconds."""
    asked = routes.LaneSlots(slots=slots or None)
    found = with_stoker(
        data, lambda stoker, _: routes.set_slots(lane, asked, us(), stoker), embedded=embedded
    )
    said = f"{slots} slots in each worker" if slots else "as each worker's settings say"
    show_either(found, f"{lane}: {said}", as_json=as_json)
