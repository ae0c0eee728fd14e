"""Misses that prediction avoids on a trace, against the default plan and decayed counts at equal budgets."""

from __future__ import annotations

import os
from pathlib import Path

from bench.figures import Figure
from bench.ground import Bench, NotThere
from stoker.prediction.evaluation import SHARES, Score, evaluate, needed
from stoker.prediction.methods import COUNTED, DEFAULT_PLAN, ORACLE, PREDICTED, careful_name
from stoker.prediction.replay import LEAST, Rules
from stoker.prediction.trace import read_trace

IDS = ("warm-predicted", "warm-decayed", "warm-oracle", "warm-used")
VARIABLE = "BENCH_TRACE"
EVERY_S = 3600.0


async def measure(bench: Bench) -> list[Figure]:
    """At the smallest of the evaluation's budgets, a tenth of what keeping warm everything would take."""
    del bench
    named = os.environ.get(VARIABLE)
    if not named:
        raise NotThere(f"name a trace of reads: {VARIABLE}=reads.csv.gz (docs/prediction.md)")
    trace = read_trace(Path(named)).by_reader()
    rules = Rules(ttl_s=EVERY_S, every_s=EVERY_S)
    [found] = evaluate(trace, rules, [SHARES[0] * needed(trace, rules) * 60]).budgets
    by_name = {one.method: one for one in found.scores}
    ours, plan, counts = by_name[PREDICTED], by_name[DEFAULT_PLAN], by_name[COUNTED]
    careful = by_name[careful_name(LEAST)]
    return [
        _avoided("warm-predicted", ">= 1.8", ours, plan),
        _avoided("warm-decayed", ">= 1.05", ours, counts),
        _avoided("warm-oracle", "", ours, by_name[ORACLE]),
        Figure(
            *("warm-used", "the default plan", "share", "ours >= 0.5"),
            [careful.used or 0.0],
            [plan.used or 0.0],
            f"with warm_least {LEAST}, which avoids {careful.avoided} misses for {careful.spent_s:.0f} s "
            f"({careful.against_default or 0:.2f} x the plan's); without it {ours.used or 0:.2f} are used",
        ),
    ]


def _avoided(row: str, wanted: str, ours: Score, theirs: Score) -> Figure:
    between = f"{_share(ours.low)}..{_share(ours.high)}"
    note = (
        f"{_share(ours.share)} [{between}] and {_share(theirs.share)} of the misses; "
        f"{ours.spent_s:.0f} and {theirs.spent_s:.0f} s of loading"
    )
    return Figure(row, theirs.method, "misses avoided", wanted, [ours.avoided], [theirs.avoided], note)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
