"""The command `chaos`; what it does is in stoker/chaos."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from stoker.cli.servers import DATA, Data
from stoker.settings import LONGEST_TERM_MS


def chaos(  # noqa: PLR0913 - one for each option
    data: Data = DATA,
    seconds: Annotated[float, typer.Option(min=1, help="How long faults are injected.")] = 120,
    json: Annotated[Path | None, typer.Option(help="Also write the report to this file.")] = None,
    *,
    seed: Annotated[int | None, typer.Option(help="The same seed plans the same faults.")] = None,
    workload: Annotated[
        str | None,
        typer.Option(help="The workload that drives your web app, as module:name (a stoker.chaos.Workload)."),
    ] = None,
    fault: Annotated[list[str] | None, typer.Option(help="Only this kind of fault; may be repeated.")] = None,
    room: Annotated[
        float | None,
        typer.Option(min=0, help="Seconds added to the promised time of recovery."),
    ] = None,
    workers: Annotated[int | None, typer.Option(min=2, help="Worker processes.")] = None,
    webapps: Annotated[int | None, typer.Option(min=1, help="Number of web app processes.")] = None,
    term_ms: Annotated[
        int,
        typer.Option(min=0, max=LONGEST_TERM_MS, help="cache.term_ms of all processes; 0: no terms."),
    ] = 0,
    topology: Annotated[
        str,
        typer.Option(help="How the servers are arranged: single, pgbouncer, cluster or sentinel."),
    ] = "single",
    keep: Annotated[bool, typer.Option("--keep", help="Keep the folder with the logs.")] = False,
) -> None:
    """Break its own processes and servers at random; exit 0 if nothing was lost or stale."""
    from stoker.chaos import ChaosOptions, run  # noqa: PLC0415 - needs what only chaos needs
    from stoker.chaos.faults import KINDS  # noqa: PLC0415 - the same
    from stoker.chaos.options import TOPOLOGIES  # noqa: PLC0415 - the same

    if topology not in TOPOLOGIES:
        raise typer.BadParameter(f"there are {', '.join(TOPOLOGIES)}", param_hint="--topology")
    known = [kind.name for kind in KINDS if topology in kind.topologies]
    for unknown in sorted(set(fault or ()) - set(known)):
        raise typer.BadParameter(
            f"no fault {unknown!r} with {topology}; there are {', '.join(known)}", param_hint="--fault"
        )

    given: dict[str, Any] = {
        "seed": seed,
        "term_ms": term_ms,
        "topology": topology,
        "workload": workload,
        "faults": tuple(fault) if fault else None,
        "room_s": room,
        "workers": workers,
        "webapps": webapps,
    }
    given = {name: value for name, value in given.items() if value is not None}
    raise typer.Exit(run(ChaosOptions(seconds=seconds, json=json, data_dir=data, keep=keep, **given)))
