"""Replay the made-up week on real servers, and compare its hits with the model's.

The same people read and change the same things at the same times as in
bench/week.py; Valkey, Postgres, reads, changes and jobs are real, only the
clock jumps from act to act. It runs once with the default plan and once with
prediction, which may spend on loading what the plan spent on warming.
docs/benchmarks.md explains it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from bench.blocks import Scale
from bench.ground import SEED, Bench, prepared
from bench.replay.week import Distorted, Prediction, Replayed, replay
from bench.rows.week_hit_rate import BEGIN_AT, PROMISED, at_equal_sql
from bench.week import BEGIN, DAY_S, LEAD_DAYS, Cache, Office, Played
from stoker.errors import Unavailable
from stoker.prediction.live import LEAST

SAME = 0.03
"""Two runs cost the same SQL if they differ by no more than this share."""
PLAIN_WIDTH = 120


def main() -> None:
    """Replay, compare, write."""
    given = _options()
    console = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    office = Office(given.seed, given.lead_days + given.days, given.lead_days)
    with prepared(Scale(), "") as bench:
        try:
            found = asyncio.run(_runs(bench, office, given, console))
        except (Distorted, Unavailable) as why:
            console.print(f"[red]no figures:[/] {why}", highlight=False)
            raise SystemExit(1) from None
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps({"seed": given.seed, "days": given.days, "runs": found}, indent=1))


async def _runs(
    bench: Bench, office: Office, given: argparse.Namespace, console: Console
) -> list[dict[str, Any]]:
    plan_model = Cache(office, None).play()
    found: list[dict[str, Any]] = []
    budget_s: float | None = given.budget_s
    if given.run != "prediction":
        plan = await _shown(bench, office, None, console)
        found.append(_summary("default plan", plan, plan_model))
        _show(console, found[-1])
        if budget_s is None:
            budget_s = BEGIN_AT * plan.loads.took_s["warm"] / office.counted_s * 60
    if given.run != "plan":
        assert budget_s is not None
        rate = BEGIN_AT * plan_model.sql_s["warm"] / office.counted_s
        model = at_equal_sql(office, rate, plan_model.all_sql_s(), given.least)
        ours = await _shown(bench, office, Prediction(budget_s, given.least), console)
        found.append(_summary(f"prediction, {budget_s:.4f} s a minute", ours, model))
        _show(console, found[-1])
        if given.run == "both":
            _compare(console, found)
    return found


async def _shown(bench: Bench, office: Office, prediction: Prediction | None, console: Console) -> Replayed:
    what = "prediction" if prediction else "default plan"
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(what, total=office.days * DAY_S)

        def progress(at: float) -> None:
            day = datetime.fromtimestamp(at, UTC).strftime("%a %H:%M")
            bar.update(task, completed=at - BEGIN, description=f"{what}: {day}")

        return await replay(bench, office, prediction, progress)


def _summary(name: str, real: Replayed, model: Played) -> dict[str, Any]:
    return {
        "run": name,
        "reads": dict(real.played.reads),
        "hits_percent": {view: round(real.played.percent(view), 2) for view in PROMISED},
        "model_percent": {view: round(model.percent(view), 2) for view in PROMISED},
        "sql_s": _rounded(real.played.sql_s),
        "model_sql_s": _rounded(model.sql_s),
        "measured_sql_s": _rounded(real.loads.took_s),
        "built": {cause: dict(views) for cause, views in real.loads.entries.items()},
        "in_force": dict(real.played.in_force),
        "model_in_force": dict(model.in_force),
        "took_s": round(real.took_s),
    }


def _rounded(seconds: dict[str, float]) -> dict[str, float]:
    return {cause: round(one, 2) for cause, one in seconds.items()}


def _show(console: Console, found: dict[str, Any]) -> None:
    table = Table("view", "promised", "measured", "the model", "difference", title=found["run"])
    for view, promised in PROMISED.items():
        hits, model = found["hits_percent"][view], found["model_percent"][view]
        least = float(promised.partition("-")[0])
        shown = f"{hits:.1f}" if hits >= least else f"[red]{hits:.1f}[/]"
        table.add_row(view, promised, shown, f"{model:.1f}", f"{hits - model:+.1f}")
    console.print(table)
    causes = ", ".join(
        f"{cause} {found['sql_s'].get(cause, 0.0):.0f} / {found['model_sql_s'].get(cause, 0.0):.0f}"
        for cause in ("misses", "refresh", "warm")
    )
    console.print(
        f"SQL at the model's prices, s, measured / model: {causes}; really in loaders: "
        f"{sum(found['measured_sql_s'].values()):.1f} s; in force: {found['in_force'] or '-'}; "
        f"{sum(found['reads'].values()):,} reads; {found['took_s']} s in reality",
        highlight=False,
    )


def _compare(console: Console, found: list[dict[str, Any]]) -> None:
    plan, ours = (sum(one["sql_s"].values()) for one in found)
    console.print(f"SQL of prediction: {ours / plan:.3f} of the default plan's", highlight=False)
    if abs(ours / plan - 1) > SAME:
        console.print(
            "[yellow]That is not equal SQL:[/] repeat with --run prediction and another --budget-s",
            highlight=False,
        )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.week_replay",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seed", type=int, default=SEED, help=f"of the office; default {SEED}")
    parser.add_argument("--days", type=int, default=7, metavar="N", help="days that are counted; default 7")
    parser.add_argument(
        "--lead-days",
        type=int,
        default=LEAD_DAYS,
        metavar="N",
        help="days before them, the first of which is a Thursday: prediction is judged after one; default 4",
    )
    parser.add_argument(
        "--run", choices=("both", "plan", "prediction"), default="both", help="what is replayed; default both"
    )
    parser.add_argument(
        "--budget-s",
        type=float,
        metavar="S",
        help="seconds of loading a minute for prediction; default: what loaders took for the default plan "
        "(the worker charges prediction with round trips to the cache, too)",
    )
    parser.add_argument(
        "--least",
        type=float,
        default=LEAST,
        metavar="P",
        help=f"schedule.warm_least of prediction; default {LEAST}",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to this file")
    given = parser.parse_args()
    if given.run == "prediction" and given.budget_s is None:
        parser.error("--run prediction needs --budget-s")
    if given.days < 1 or given.lead_days < 1:
        parser.error("--days and --lead-days: at least 1")
    return given


if __name__ == "__main__":
    main()
