"""Seven days of an office at a virtual clock: hits with prediction, against the default plan."""

from __future__ import annotations

from bench.figures import Figure
from bench.ground import SEED, Bench
from bench.week import DAY_S, DAYS, Cache, Office, Played

IDS = ("week-hit-rate", "week-sql")
PROMISED = {"detail": "80-90", "dashboard": "70-80", "list": "85-95", "search": "60-70"}
BEGIN_AT = 1.12
"""The first budget, as a multiple of what the plan's warming costs: not all of a budget is spent."""
RUNS, NEAR = 3, 0.99
"""Runs in which the budget is brought to where prediction costs nearly the SQL of the plan, and no more."""


async def measure(bench: Bench) -> list[Figure]:
    """The default plan first; then prediction, with a budget that makes all its SQL cost as much."""
    office = Office(SEED, DAYS if bench.scale.share == 1 else 6)
    plan = Cache(office, None).play()
    most = plan.all_sql_s()
    rate = BEGIN_AT * plan.sql_s["warm"] / ((office.days - 4) * DAY_S)
    ours = Cache(office, rate).play()
    for _ in range(RUNS - 1):
        if NEAR * most <= ours.all_sql_s() <= most:
            break
        others_s = ours.all_sql_s() - ours.sql_s["warm"]
        rate *= (most * (1 + NEAR) / 2 - others_s) / max(1e-9, ours.sql_s["warm"])
        ours = Cache(office, rate).play()
    return [
        Figure(
            *("week-hit-rate", "the default plan", "%", ">= 1"),
            [ours.percent("dashboard")],
            [plan.percent("dashboard")],
            _views(ours, plan),
        ),
        Figure("week-sql", "the default plan", "s", "<= 1", [ours.all_sql_s()], [most], _sql(ours, plan)),
    ]


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
