"""`stoker warm show` and `stoker warm explain`: what prediction does, and why."""

from __future__ import annotations

from typing import Annotated

import typer

from stoker.cli.display import models, named, show
from stoker.cli.lines import warming
from stoker.cli.opened import On, operator
from stoker.operations import prediction
from stoker.operations.prediction import ExplainedEntry, PredictionNow

HEAVIEST = 12
"""Features that are shown without --json."""


def _draw(found: PredictionNow) -> None:
    show(warming(found))
    show(f"because: {found.why}")
    figures = found.figures
    if figures is None:
        return
    show(f"predicted by {found.predicted_by or 'nobody'}, last at {found.planned_at:%Y-%m-%d %H:%M:%S} UTC")
    show(
        f"threshold {figures.threshold:.3f}; {figures.known_entries} entries and {figures.known_readers} "
        f"readers known, {figures.may_be_warmed} entries may be warmed"
    )
    show(f"{figures.used} misses avoided")
    named("contender", ["misses", "spent_s"], figures.contest)


@operator(_draw)
async def show_prediction(on: On) -> PredictionNow:
    """Show what prediction does: who is in force and why, budget, spending, waste, avoided misses."""
    return await prediction.prediction(on.stoker)


def _draw_entry(found: ExplainedEntry) -> None:
    show(f"{found.entry}: {found.decision}")
    show(
        f"probability {found.probability:.3f}, reads of these hours {found.lately:.2f}, "
        f"needed {found.threshold:.3f}"
    )
    read = "never" if found.last_read is None else f"{found.last_read:%Y-%m-%d %H:%M:%S} UTC"
    show(f"last read {read}")
    show(f"in force: {found.in_force} ({found.why})")
    if found.learnt_at is not None:
        show(f"as learnt until {found.learnt_at:%Y-%m-%d %H:%M:%S} UTC")
    models("heaviest features", ["feature", "bin", "bins", "weight"], found.features[:HEAVIEST])


@operator(_draw_entry)
async def explain(
    on: On,
    entry: Annotated[str, typer.Argument(metavar="ENTRY", help="As in project:42/dashboard.")],
) -> ExplainedEntry:
    """Explain whether an entry is warmed: features, weights, probability, decision, who decides.

    Weights add up to the log odds of the probability. Bins of times and counts go from small to large.

    Example: stoker warm explain project:42/dashboard
    """
    return await prediction.explain(on.stoker, entry)
