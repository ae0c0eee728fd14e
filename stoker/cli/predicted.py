"""`stoker warm show`, `warm history` and `warm explain`: what prediction does and did, and why."""

from __future__ import annotations

from typing import Annotated

import typer

from stoker.cli.display import models, named, show, table
from stoker.cli.lines import warming
from stoker.cli.opened import On, operator
from stoker.operations import prediction
from stoker.operations.prediction import ExplainedEntry, PredictionHistory, PredictionNow
from stoker.warming.rows import PastHour

HEAVIEST = 12
"""Features that are shown without --json."""


def _draw(found: PredictionNow) -> None:
    show(warming(found))
    show(f"because: {found.why}")
    figures = found.figures
    if figures is None:
        return
    show(f"predicted by {found.predicted_by or 'nobody'}, last at {found.planned_at:%Y-%m-%d %H:%M:%S} UTC")
    if found.learnt_at is not None:
        show(f"what was learnt was last kept at {found.learnt_at:%Y-%m-%d %H:%M:%S} UTC")
    show(
        f"threshold {figures.threshold:.3f}; {figures.known_entries} entries and {figures.known_readers} "
        f"readers known, {figures.may_be_warmed} entries may be warmed"
    )
    show(f"{figures.used} misses avoided")
    named("contender", ["misses", "missed_s", "spent_s"], figures.contest)
    columns = ["predicted", "read", "counts_as", "examples"]
    models("calibration: of what was predicted, what was read", columns, figures.calibration)


@operator(_draw)
async def show_prediction(on: On) -> PredictionNow:
    """Show what prediction does: who is in force and why, budget, spending, waste, avoided misses."""
    return await prediction.prediction(on.stoker)


def _draw_history(found: PredictionHistory) -> None:
    rows = []
    before: PastHour | None = None
    for one in found.hours:
        figures = one.figures
        rows.append(
            [
                f"{one.at:%Y-%m-%d %H:%M}",
                figures.in_force,
                f"{figures.threshold:.3f}",
                "-" if figures.used_share is None else f"{figures.used_share:.2f}",
                "-" if before is None else f"{moved(before, one):.2f}",
                " ".join(f"{weight:.2f}" for weight in next(iter(one.weights.values())))
                if len(one.weights) == 1
                else "",
            ]
        )
        before = one
    if not rows:
        show("no hour was kept yet: a worker that predicts keeps one every hour")
        return
    table("history, UTC", ["hour", "in_force", "threshold", "used", "moved", "weights"], rows)


def moved(before: PastHour, after: PastHour) -> float:
    """How far all weights that both have moved, added up."""
    return sum(
        abs(one - other)
        for name in before.weights.keys() & after.weights.keys()
        for one, other in zip(before.weights[name], after.weights[name], strict=False)
    )


@operator(_draw_history)
async def show_history(
    on: On,
    last: Annotated[int, typer.Option(min=1, max=2160, help="How many hours; 90 days are kept.")] = 24,
    feature: Annotated[
        str | None, typer.Option(metavar="NAME", help="Show the weights of this feature; --json has all.")
    ] = None,
) -> PredictionHistory:
    """Show what was kept each hour: who was in force, the share that was used, how far the weights moved.

    Example: stoker warm history --last 48 --feature "hour of the day"
    """
    return await prediction.past(on.stoker, last, feature)


def _draw_entry(found: ExplainedEntry) -> None:
    show(f"{found.entry}: {found.decision}")
    show(
        f"probability {found.probability:.3f} ({found.uncorrected:.3f} by its weights), "
        f"reads of these hours {found.lately:.2f}, needed {found.threshold:.3f}"
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
    entry: Annotated[
        str, typer.Argument(metavar="ENTRY", help="As in project:42/dashboard; parameters as JSON after a ?.")
    ],
) -> ExplainedEntry:
    """Explain whether an entry is warmed: features, weights, probability, decision, who decides.

    Weights add up to the log odds of a probability, which the calibration then corrects. Bins of times and
    counts go from small to large.

    Example: stoker warm explain project:42/dashboard
    """
    return await prediction.explain(on.stoker, entry)
