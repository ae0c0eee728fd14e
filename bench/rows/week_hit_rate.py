"""Seven days of an office at a virtual clock: hits with prediction, against the default plan."""

from __future__ import annotations

from math import inf

from bench.figures import Figure
from bench.ground import SEED, Bench
from bench.week import DAYS, Cache, Office, Played
from stoker.prediction.live import LEAST

IDS = ("week-hit-rate", "week-sql")
PROMISED = {"detail": "80-90", "dashboard": "70-80", "list": "85-95", "search": "60-70"}
BEGIN_AT = 0.965
"""The first budget, as a multiple of the cost of the plan's warming."""
RUNS, NEAR = 3, 0.99
"""Runs in which the budget is brought to where prediction costs nearly the SQL of the plan, and no more."""


async def measure(bench: Bench) -> list[Figure]:
    """The default plan first; then prediction, with a budget that makes all its SQL cost as much."""
    office = Office(SEED, DAYS if bench.scale.share == 1 else 6)
    plan = Cache(office, None).play()
    most = plan.all_sql_s()
    ours = at_equal_sql(office, BEGIN_AT * plan.sql_s["warm"] / office.counted_s, most, LEAST)
    return [
        Figure(
            *("week-hit-rate", "the default plan", "%", ">= 1"),
            [ours.percent("dashboard")],
            [plan.percent("dashboard")],
            _views(ours, plan),
        ),
        Figure("week-sql", "the default plan", "s", "<= 1", [ours.all_sql_s()], [most], _sql(ours, plan)),
    ]


def at_equal_sql(office: Office, rate: float, most_s: float, least: float) -> Played:
    """The run whose SQL is nearest to `most_s` and not above it, or nearest at all."""
    runs: list[Played] = []
    below, above = 0.0, inf
    for _ in range(RUNS):
        runs.append(played := Cache(office, rate, least).play())
        sql_s = played.all_sql_s()
        if NEAR * most_s <= sql_s <= most_s:
            break
        below, above = (rate, above) if sql_s < most_s else (below, rate)
        guess = rate * (most_s - sql_s + played.sql_s["warm"]) / max(1e-9, played.sql_s["warm"])
        rate = guess if below < guess < above else (below + min(above, 2 * rate)) / 2
    within = [one for one in runs if one.all_sql_s() <= most_s]
    return min(within or runs, key=lambda one: abs(most_s - one.all_sql_s()))


def _views(ours: Played, plan: Played) -> str:
    views = ", ".join(
        f"{view} {ours.percent(view):.1f} / {plan.percent(view):.1f} (promised {promised})"
        for view, promised in PROMISED.items()
    )
    steps = ours.in_force.total() or 1
    forced = ", ".join(f"{name} {100 * n / steps:.0f} %" for name, n in ours.in_force.most_common())
    return f"{plan.reads.total():,} reads in seven days, no server takes part; {views}; in force: {forced}"


def _sql(ours: Played, plan: Played) -> str:
    causes = ("misses", "refresh", "warm")
    return "seconds of loading: " + ", ".join(
        f"{one} {ours.sql_s[one]:.0f} / {plan.sql_s[one]:.0f}" for one in causes
    )
