"""`stoker warm`: warms entries now, shows and explains prediction, evaluates ways to warm on a trace."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer

from stoker.cli import predicted
from stoker.cli.display import NOTHING, progress, show, show_json, table
from stoker.cli.group import Group
from stoker.cli.operate import warm
from stoker.cli.servers import Json
from stoker.prediction.evaluation import Budgeted, Evaluation, Score, evaluate
from stoker.prediction.methods import COUNTED, DEFAULT_PLAN, ORACLE, PREDICTED
from stoker.prediction.replay import LEAST, Rules
from stoker.prediction.trace import read_trace

DEFAULT = "now"
BAR = 24
"""Width of the longest bar."""
LONG_S = 14 * 86400.0
"""The length of a trace below which an evaluation says that it is short."""
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
        Path,
        typer.Argument(metavar="TRACE", help="CSV, plain or gzip: time,reader,entry[,build_ms]; - is stdin."),
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
    with progress("reading") as report:
        found_reads = read_trace(trace, lambda rows: report(rows, 0))
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
    changes = f", {found.changes:,} changes" if found.changes else ""
    show(f"{found.reads:,} reads of {found.entries:,} entries by {found.readers:,} readers{changes}")
    show(f"from {_minute(found.begin)} to {_minute(found.end)} UTC")
    if not found.scored_reads:
        show(f"nothing was measured: no planning (--every {found.every_s:g}) before the reads to be scored")
        return
    show(f"scored: {found.scored_reads:,} reads from {_minute(found.scored_from)} UTC on")
    if not found.misses:
        show("nothing can be gained: without any warming none of them misses")
        return
    show(f"{found.misses:,} of them miss without warming")
    if found.end - found.begin < LONG_S:
        show("a trace of two weeks or more says more: here few hours of the week were learnt and scored")
    for one in found.budgets:
        _draw_budget(one)


def _minute(time: float) -> str:
    return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d %H:%M}"


def _draw_budget(one: Budgeted) -> None:
    budget = f"budget {one.budget_s:.4g} s of loading a minute"
    table(
        f"{budget}: misses avoided",
        ["method", "avoided", "share", "90 %", "x default", "used"],
        [_misses(score) for score in one.scores],
    )
    longest = max(score.share or 0.0 for score in one.scores) or 1
    table(
        "the same budget: seconds of loading, and a bar for the share of the misses",
        ["method", "saved_s", "spent_s", "wasted_s", ""],
        [_seconds(score, longest) for score in one.scores],
    )
    shown = [score for score in one.scores if score.method in HEADINGS or score.method.startswith(CAREFUL)]
    headings = [HEADINGS.get(one.method, one.method.removeprefix(CAREFUL)) for one in shown]
    by = [(view, [score.by_view[view] for score in shown]) for view in shown[0].by_view]
    by += [(f"{hour:02}:00", [score.by_hour[hour] for score in shown]) for hour in shown[0].by_hour]
    of_each = [[name, *(f"{share:.3f}" for share in shares)] for name, shares in by]
    table("the same budget: share of the misses, by view and by hour of the day", ["", *headings], of_each)


def _misses(score: Score) -> list[str]:
    return [
        score.method,
        str(score.avoided),
        _digits(score.share, 3),
        NOTHING if score.low is None else f"{score.low:.3f}..{score.high:.3f}",
        _digits(score.against_default, 2),
        _digits(score.used, 2),
    ]


def _digits(value: float | None, digits: int) -> str:
    return NOTHING if value is None else f"{value:.{digits}f}"


def _seconds(score: Score, longest: float) -> list[str]:
    return [
        score.method,
        f"{score.saved_s:.1f}",
        f"{score.spent_s:.1f}",
        f"{score.wasted_s:.1f}",
        "#" * round(BAR * max(0.0, score.share or 0.0) / longest),
    ]
