"""The command `demo`; what it does is in worker/demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from worker.cli.servers import DATA, Data


def demo(
    data: Data = DATA,
    seconds: Annotated[float, typer.Option(min=1, help="How long users come.")] = 30,
    json: Annotated[Path | None, typer.Option(help="Write the report here, too.")] = None,
) -> None:
    """Run the whole system under load and check every answer; exit 0 only if nothing is wrong."""
    from worker import demo as demonstration  # noqa: PLC0415 - needs what only the demo needs

    raise typer.Exit(demonstration.run(seconds=seconds, json=json, data=data))
