"""One recorded replay through the earlier layer and through Stoker: hits, latency, wrong answers, SQL.

Time runs 60 times as fast as in reality: a dashboard lives 5 s, the half-hourly warming runs every 30 s.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from redis.asyncio import Redis
from sqlalchemy import text

from bench.figures import Figure, percentile
from bench.ground import DOMAIN, SEED, Bench
from bench.processes import cpu_s, parent_of
from bench.replay.judge import Tally
from bench.replay.play import Player, Side
from bench.replay.sides import Ours, Unrecorded, theirs
from bench.replay.trace import PROJECT_VIEWS, USER_VIEWS, Team, record
from stoker import Stoker, load_domain

IDS = (
    *("earlier-layer-hit-rate", "earlier-layer-p50", "earlier-layer-p99"),
    *("earlier-layer-stale", "earlier-layer-forbidden", "earlier-layer-sql"),
)
PACE = 60
"""Seconds of life in one second of the replay."""
USERS = 25
"""With 250 projects: more, and warming at this pace would keep two cores busy by itself, on both sides."""
REPLAY_S, WARM_UP_S = 32.5, 8.0
PER_SECOND = 75
TEAMS = text("""
SELECT p.id, p.owner_id, min(d.id), array_agg(DISTINCT m.user_id)
  FROM projects p
  JOIN predicate_devices d ON d.project_id = p.id
  JOIN project_members m ON m.project_id = p.id
 GROUP BY p.id
""")
BACKEND = text("SELECT pg_backend_pid()")


@dataclass(frozen=True, slots=True)
class Played:
    """What one side answered, and how long Postgres worked for it, in seconds of CPU."""

    tally: Tally
    sql_s: float


async def measure(bench: Bench) -> list[Figure]:
    """Each side starts with a database of the same rows, an empty cache, and its warming.

    Three pairs: a single one depends on the machine's load in its minute, and two have no true median.
    """
    played: dict[bool, list[Played]] = {False: [], True: []}
    for round_ in range(3):
        for with_stoker in (False, True) if round_ % 2 == 0 else (True, False):
            played[with_stoker].append(await _played(bench, with_stoker=with_stoker))
    return _figures(played[True], played[False])


async def _played(bench: Bench, *, with_stoker: bool) -> Played:
    async with bench.other_database("bench_replay", USERS) as own:
        return await (_through_stoker if with_stoker else _through_earlier)(own)


async def _through_earlier(bench: Bench) -> Played:
    async with AsyncExitStack() as stack:
        await bench.flush()
        stoker = await stack.enter_async_context(Unrecorded.opened(bench.settings()))
        redis = await stack.enter_async_context(Redis.from_url(bench.urls.cache))
        teams = await _teams(stoker)
        side = await stack.enter_async_context(theirs(stoker, redis, teams, PACE))
        return await _play(bench, stoker, side, teams)


EVERY_S = {"warm_active": 1800 / PACE, "keep_warm": 60 / PACE, "verify": 86400}
"""The earlier layer has no verifier, so it is off on both sides."""


async def _through_stoker(bench: Bench) -> Played:
    plain = bench.settings()
    views = load_domain(DOMAIN).views
    lives = {view.name: plain.ttl(view.name, view.ttl).total_seconds() / PACE for view in views}
    async with (
        bench.stoker(ttl_s=lives, stats_flush_s=plain.cache.stats_flush_s / PACE) as stoker,
        bench.worker(
            stoker,
            ENABLE_BACKGROUND_WARMING="true",
            STOKER__CACHE__TTL_S=json.dumps(lives),
            STOKER__SCHEDULE__EVERY_S=json.dumps(EVERY_S),
        ),
    ):
        teams = await _teams(stoker)
        return await _play(bench, stoker, Ours(stoker), teams)


async def _play(bench: Bench, stoker: Stoker, side: Side, teams: dict[int, Team]) -> Played:
    async with stoker.session() as session:
        postgres = parent_of(await session.scalar(BACKEND))
    trace = record(teams, SEED, bench.scale.seconds(REPLAY_S), PER_SECOND)
    busy_s: list[float] = []
    tally = await Player(side, teams).play(
        trace, bench.scale.seconds(WARM_UP_S), lambda: busy_s.append(cpu_s(postgres))
    )
    return Played(tally, cpu_s(postgres) - busy_s[0])


async def _teams(stoker: Stoker) -> dict[int, Team]:
    async with stoker.session() as session:
        rows = (await session.execute(TEAMS)).tuples().all()
    return {number: Team(owner, sorted(members), item) for number, owner, item, members in rows}


def _figures(ours: Sequence[Played], earlier: Sequence[Played]) -> list[Figure]:
    figures: dict[str, tuple[str, str, Callable[[Played], float], Callable[[Played, Played], str] | None]] = {
        "earlier-layer-hit-rate": ("%", ">= 1", lambda one: one.tally.hit_percent(), _rates),
        "earlier-layer-p50": ("ms", "<= 1", lambda one: percentile(one.tally.latencies_ms, 0.5), None),
        "earlier-layer-p99": ("ms", "<= 1", lambda one: percentile(one.tally.latencies_ms, 0.99), None),
        "earlier-layer-stale": ("reads", "ours == 0", lambda one: one.tally.stale.total(), _stale),
        "earlier-layer-forbidden": ("reads", "ours == 0", lambda one: one.tally.forbidden, _intrusions),
        "earlier-layer-sql": ("s of CPU", "<= 1", lambda one: one.sql_s, _sql),
    }
    return [
        Figure(
            row,
            "the earlier layer, rebuilt",
            unit,
            wanted,
            [float(figure(one)) for one in ours],
            [float(figure(one)) for one in earlier],
            note(ours[-1], earlier[-1]) if note else "",
        )
        for row, (unit, wanted, figure, note) in figures.items()
    ]


def _rates(ours: Played, earlier: Played) -> str:
    views = ", ".join(
        f"{view} {ours.tally.hit_percent(view):.1f} / {earlier.tally.hit_percent(view):.1f}"
        for view in (*PROJECT_VIEWS, *USER_VIEWS)
    )
    count = ours.tally.reads.total()
    return f"{count:,} reads and {ours.tally.writes} writes on each side, {PACE} times as fast; {views}"


def _stale(ours: Played, earlier: Played) -> str:
    views = ", ".join(f"{view} {count}" for view, count in earlier.tally.stale.most_common())
    return (
        "reads begun after a write was in effect (the call had returned, inline invalidation or our worker's "
        f"included) that show what was before; theirs: {views or 'none'}; between commit and effect: "
        f"{ours.tally.in_between} / {earlier.tally.in_between}"
    )


def _intrusions(ours: Played, earlier: Played) -> str:
    return (
        "reads by strangers and by members whose removal had returned that were served, of "
        f"{ours.tally.intrusions} / {earlier.tally.intrusions}"
    )


def _sql(_ours: Played, _earlier: Played) -> str:
    return (
        "CPU time of Postgres for reads, writes, warming and our outbox; answers of the earlier layer "
        "that are stale or should be refused cost it no SQL"
    )
