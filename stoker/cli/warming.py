"""`stoker warm`: warms entries now, shows and explains prediction, evaluates ways to warm on a trace."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer

from stoker.cli import predicted
from stoker.cli.display import note, progress, show, show_json, table
from stoker.cli.group import Group
from stoker.cli.operate import warm
from stoker.cli.servers import Json
from stoker.prediction.evaluation import Budgeted, Evaluation, Score, evaluate
from stoker.prediction.methods import COUNTED, DEFAULT_PLAN, ORACLE, PREDICTED
from stoker.prediction.replay import LEAST, Rules
from stoker.prediction.trace import read_trace

DEFAULT = "now"
BAR = 30
"""Width of the longest bar."""
CAREFUL = f"{PREDICTED}, "
"""What the name of the predictor with a lowest probability begins with."""
HEADINGS = {DEFAULT_PLAN: DEFAULT_PLAN, COUNTED: "counts", PREDICTED: PREDICTED, ORACLE: ORACLE}
"""Of the methods whose figures are shown by view and by hour."""


class WarmGroup(Group):
    """A group that takes everything but the name of a command as the arguments of `now`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - the library's context
        """Put `now` before arguments that name no command."""
        if not args or args[0] not in {*self.commands, *ctx.help_option_names}:
            args = [DEFAULT, *args]
        parsed: list[str] = super().parse_args(ctx, args)
        return parsed


app = typer.Typer(
    cls=WarmGroup, help="Warm entries now (the default); show or explain prediction; evaluate it on a trace."
)
app.command(DEFAULT)(warm)
app.command("show")(predicted.show_prediction)
app.command("history")(predicted.show_history)
app.command("explain")(predicted.explain)


@app.command("evaluate")
def evaluate_trace(  # noqa: PLR0913 - one for each option
    trace: Annotated[
        Path, typer.Argument(metavar="TRACE", help="CSV, plain or gzip: time,reader,entry[,build_ms].")
    ],
    *,
    budget: Annotated[
        list[float] | None,
        typer.Option(
            min=0, help="Seconds of loading a minute; may be repeated. By default, shares of what is needed."
        ),
    ] = None,
    ttl: Annotated[float, typer.Option(min=1, help="Seconds for which a built entry is served.")] = 3600,
    every: Annotated[float, typer.Option(min=1, help="Seconds between two plannings.")] = 1800,
    build_ms: Annotated[
        float, typer.Option(min=0.001, help="What building takes where the trace does not say.")
    ] = 20,
    scored: Annotated[
        float, typer.Option(min=0.01, max=0.99, help="The part of the reads, at the end, that is scored.")
    ] = 0.5,
    timezone: Annotated[str, typer.Option(help="Time zone of the hours of the day.")] = "UTC",
    seed: Annotated[int, typer.Option(help="The same seed gives the same result.")] = 0,
    least: Annotated[
        float,
        typer.Option(min=0, max=1, help="Also predict and warm nothing below this probability; 0: do not."),
    ] = LEAST,
    by_reader: Annotated[
        bool, typer.Option("--by-reader", help="Warm for readers, as if each had one page.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Replay a trace: misses that each way to warm would have avoided, for the same seconds of loading.

    Example: stoker warm evaluate reads.csv.gz --by-reader --every 3600
    """
    if every > ttl:
        raise typer.BadParameter("entries would expire between two plannings", param_hint="--every")
    rules = Rules(ttl, every, build_ms / 1000, scored, _zone(timezone), seed, least)
    found_reads = read_trace(
        trace, lambda lines: note(f"read {lines:,} lines") if lines % 1_000_000 == 0 else None
    )
    if by_reader:
        found_reads = found_reads.by_reader()
    with progress("replaying") as report:
        found = evaluate(found_reads, rules, budget or (), lambda done: report(done, len(found_reads)))
    if as_json:
        show_json(found)
    else:
        _draw(found)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise typer.BadParameter(f"no time zone {name!r}", param_hint="--timezone") from None


def _draw(found: Evaluation) -> None:
    begin = datetime.fromtimestamp(found.scored_from, UTC).isoformat(sep=" ", timespec="minutes")
    changes = f", {found.changes:,} changes" if found.changes else ""
    show(f"{found.reads:,} reads of {found.entries:,} entries by {found.readers:,} readers{changes}")
    show(
        f"scored: {found.scored_reads:,} reads from {begin} on; {found.misses:,} of them miss without warming"
    )
    for one in found.budgets:
        _draw_budget(one)


def _draw_budget(one: Budgeted) -> None:
    counted = ["avoided", "share", "90 %", "x default", "used"]
    columns = ["method", *counted, "saved_s", "spent_s", "wasted_s", ""]
    longest = max(score.share for score in one.scores) or 1
    rows = [_row(score, longest) for score in one.scores]
    table(f"budget {one.budget_s:.4g} s of loading a minute", columns, rows)
    shown = [score for score in one.scores if score.method in HEADINGS or score.method.startswith(CAREFUL)]
    headings = [HEADINGS.get(one.method, one.method.removeprefix(CAREFUL)) for one in shown]
    by = [(view, [score.by_view[view] for score in shown]) for view in shown[0].by_view]
    by += [(f"{hour:02}:00", [score.by_hour[hour] for score in shown]) for hour in shown[0].by_hour]
    of_each = [[name, *(f"{share:.3f}" for share in shares)] for name, shares in by]
    table("the same budget: share of the misses, by view and by hour of the day", ["", *headings], of_each)


def _row(score: Score, longest: float) -> list[str]:
    return [
        score.method,
        str(score.avoided),
        f"{score.share:.3f}",
        f"{score.low:.3f}..{score.high:.3f}",
        "-" if score.against_default is None else f"{score.against_default:.2f}",
        "-" if score.used is None else f"{score.used:.2f}",
        f"{score.saved_s:.1f}",
        f"{score.spent_s:.1f}",
        f"{score.wasted_s:.1f}",
        "#" * round(BAR * max(0.0, score.share) / longest),
    ]
