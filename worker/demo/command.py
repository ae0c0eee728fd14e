"""The command `demo`, which `python -m worker` adds to those of `stoker`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from stoker.cli.servers import DATA, Data


def demo(  # noqa: PLR0913 - one for each option
    data: Data = DATA,
    seconds: Annotated[float, typer.Option(min=1, help="Duration of the traffic.")] = 30,
    json: Annotated[Path | None, typer.Option(help="Also write the report to this file.")] = None,
    *,
    users: Annotated[int | None, typer.Option(min=10, help="Size of the sample data.")] = None,
    rate: Annotated[float | None, typer.Option(min=1, help="Requests per second.")] = None,
    time_scale: Annotated[float | None, typer.Option(min=1, help="Divides TTLs and schedule.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same users and data.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep folder, logs and database.")] = False,
) -> None:
    """Run the whole system under load and check every answer; exit 0 only if nothing is wrong."""
    from worker.demo import DemoOptions, run  # noqa: PLC0415 - needs what only the demo needs

    given: dict[str, Any] = {"users": users, "rate": rate, "time_scale": time_scale, "seed": seed}
    given = {name: value for name, value in given.items() if value is not None}
    raise typer.Exit(run(DemoOptions(seconds=seconds, json=json, data_dir=data, keep=keep, **given)))
