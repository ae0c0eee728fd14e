"""`stoker history`: how long reads of a view took over time, and what happened meanwhile."""

from __future__ import annotations

from typing import Annotated

import typer

from stoker.cli.display import show, table
from stoker.cli.opened import On, operator
from stoker.history.charts import Length
from stoker.operations.past import ReadsOverTime, reads_over_time

COLUMNS = ("at", "p50_s", "p99_s", "reads_per_minute", "hit_rate", "errors_per_minute")


def _draw(found: ReadsOverTime) -> None:
    if found.slow_since is not None:
        show(f"Slow since {found.slow_since:%Y-%m-%d %H:%M}Z: p99 above {found.slow_from_s:g} s.")
    elif any(step.p99_s is not None for step in found.steps):
        show(f"Not slow: the latest p99 is not above {found.slow_from_s:g} s.")
    else:
        show(f"Nothing was read in the last {found.length}, or nothing counted it.")
    rows = [
        (*(getattr(step, name) for name in COLUMNS), "; ".join(step.happened) or None) for step in found.steps
    ]
    table(f"reads of {found.view}, by {found.step_s / 60:g} min", (*COLUMNS, "happened"), rows)


@operator(_draw)
async def history(
    on: On,
    view: Annotated[str, typer.Argument(metavar="VIEW", help="A view of the domain.")],
    length: Annotated[Length, typer.Option(help="How far back.")] = Length.HOUR,
) -> ReadsOverTime:
    """Show since when reads of a view are slow, and what happened then: pauses, restarts, workers.

    Steps without reads and without anything that happened are left out.

    Example: stoker history dashboard --length day
    """
    return await reads_over_time(on.stoker, view, length)
