"""Seven days of an office at a virtual clock: hits with prediction, against the default plan."""

from __future__ import annotations

from bench.figures import Figure
from bench.ground import SEED, Bench
from bench.week import DAY_S, DAYS, Cache, Office, Played

IDS = ("week-hit-rate", "week-sql")
PROMISED = {"detail": "80-90", "dashboard": "70-80", "list": "85-95", "search": "60-70"}
CLOSER = 6
"""Runs in which the budget is brought to where both sides cost the same SQL."""


async def measure(bench: Bench) -> list[Figure]:
    """The default plan first; then prediction, with the budget that makes all its SQL cost as much.

    The budget is searched from above: the whole of what the plan's warming costs, then less.
    """
    office = Office(SEED, DAYS if bench.scale.share == 1 else 6)
    plan = Cache(office, None).play()
    most = plan.all_sql_s()
    rate = plan.sql_s["warm"] / ((office.days - 4) * DAY_S)
    ours = Cache(office, rate).play()
    for _ in range(CLOSER):
        if ours.all_sql_s() <= most:
            break
        rate *= 0.85
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
