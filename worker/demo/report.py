"""The report of a run: what was measured, and what is wrong.

A value that was not measured is null.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import text

from jobs import WriteExport
from stoker import Stoker
from stoker.cache.verdicts import Verdict, verified
from stoker.chaos.program import Facts
from stoker.chaos.tally import Tally, percentile
from stoker.operations import lanes
from stoker.postgres import database_errors
from worker.demo.options import DemoOptions
from worker.demo.reads import VIEWS

FLOORS = {
    "reads": 2000,
    "writes": 100,
    "entries_verified": 200,
    "forbidden_reads_attempted": 100,
    "exports_written": 5,
    "digests_written": 20,
}
"""Floors: counts that a run must reach to prove anything. They are absolute, so a short run misses them."""
OWN_JOBS = (
    "{exports_requested} exports asked for in transactions, {exports_delivered} delivered, {exports_written} "
    "written; the scheduled digests of {digests_written} users written"
)
ZEROES = ("stale_reads", "stale_entries", "forbidden_reads_served", "server_errors")

_EVENTS = text("""
SELECT count(*),
       count(settled_at),
       percentile_disc(0.5) WITHIN GROUP (ORDER BY settled_at - recorded_at),
       percentile_disc(0.99) WITHIN GROUP (ORDER BY settled_at - recorded_at)
  FROM stoker.cache_events
 WHERE id > :after
""")
_SLOTS = text(
    "SELECT task, count(*) AS count FROM stoker.schedule_slots WHERE state = 'done'"
    " GROUP BY task ORDER BY task"
)
_NEWEST = text("SELECT coalesce(max(id), 0) FROM stoker.cache_events")
_REQUESTS = text("SELECT count(*), count(delivered_at) FROM stoker.job_requests WHERE kind = :kind")

DRAIN_S = 2.0
"""Seconds after the last request is due within which all are answered, unless the machine cannot follow."""
SLOW_HIT_MS = 50.0
"""Half of the hits take longer only where they wait for a processor: a hit is one round trip to Redis."""


@dataclass(frozen=True)
class Servers:
    """The figures of Postgres and the queue at the end.

    A change is timed by Postgres's clock from its recording, just before the commit, to its settling, after
    the cache has acknowledged: never less than from commit to applied.
    """

    events_recorded: int
    events_applied: int
    change_to_applied_ms: dict[str, float | None]
    jobs: dict[str, dict[str, int | None]]
    schedule: dict[str, int]
    verifier: dict[str, int]
    """Entries that the worker's own verifier compared with SQL during the run, and found stale."""
    files: dict[str, int]
    """Exports that users asked for in their transactions and those among them that were delivered; files."""

    @classmethod
    async def ask(cls, stoker: Stoker, exports: Path, after: int) -> Servers:
        """Ask them now; `exports` is the folder that the worker writes files to.

        `after`: the newest event before the run; those of the sample data waited for the worker's start.
        """
        with database_errors():
            async with stoker.engine.connect() as connection:
                recorded, applied, p50, p99 = (await connection.execute(_EVENTS, {"after": after})).one()
                asked, delivered = (await connection.execute(_REQUESTS, {"kind": WriteExport.kind})).one()
                slots = {str(task): int(count) for task, count in await connection.execute(_SLOTS)}
        found = (await lanes.listing(stoker)).lanes
        store = stoker.cache.store
        seen = await verified(store.client, store.keys)
        return cls(
            events_recorded=recorded,
            events_applied=applied,
            change_to_applied_ms={
                "p50": None if p50 is None else round(p50.total_seconds() * 1000, 2),
                "p99": None if p99 is None else round(p99.total_seconds() * 1000, 2),
            },
            jobs={
                name: {"done": lane.totals["done"], "failed": lane.totals["failed"], "dead": lane.dead}
                for name, lane in found.items()
            },
            schedule=slots,
            verifier={"checked": seen.checked, "stale": seen.counts[Verdict.STALE]},
            files={
                "exports_requested": asked,
                "exports_delivered": delivered,
                **_written(exports),
            },
        )


async def newest_event(stoker: Stoker) -> int:
    """The id of the newest event."""
    with database_errors():
        async with stoker.engine.connect() as connection:
            return int(await connection.scalar(_NEWEST) or 0)


def _written(exports: Path) -> dict[str, int]:
    return {f"{kind}s_written": len(list(exports.glob(f"{kind}-*"))) for kind in ("export", "digest")}


def report(options: DemoOptions, tally: Tally, servers: Servers, driven_s: float) -> Facts:
    """Everything, as it is written to the JSON file."""
    found: Facts = {
        "seconds": round(driven_s, 2),
        "rate": options.rate,
        "saturated": _saturated(options, tally, driven_s),
        "time_scale": options.time_scale,
        "seed": options.seed,
        "users": options.users,
        "reads": tally.reads,
        "writes": tally.writes,
        "events_recorded": servers.events_recorded,
        "events_applied": servers.events_applied,
        "entries_verified": tally.entries_verified,
        "stale_entries": tally.stale_entries,
        "reads_checked": tally.reads_checked,
        "reads_of_changed": tally.reads_of_changed,
        "stale_reads": tally.stale_reads,
        "forbidden_reads_attempted": tally.forbidden_reads_attempted,
        "forbidden_reads_served": tally.forbidden_reads_served,
        "not_modified": tally.not_modified,
        "server_errors": tally.server_errors,
        "hit_rate": {view: tally.hit_rate(view) for view in VIEWS},
        "read_ms": {view: _latencies(tally, view) for view in VIEWS},
        "write_ms": {"p50": percentile(tally.write_ms, 0.5), "p99": percentile(tally.write_ms, 0.99)},
        "late_ms": {"p50": percentile(tally.late_ms, 0.5), "p99": percentile(tally.late_ms, 0.99)},
        "change_to_applied_ms": servers.change_to_applied_ms,
        "jobs": servers.jobs,
        "schedule": servers.schedule,
        "verifier": servers.verifier,
        **servers.files,
        "own_jobs": OWN_JOBS.format_map(servers.files),
    }
    found["floors"] = {
        name: {"wanted": least, "measured": found[name], "met": found[name] >= least}
        for name, least in FLOORS.items()
    }
    found["wrong"] = wrong(found, tally)
    found["failures"] = found["wrong"] + missed(found)
    found["examples"] = tally.examples
    return found


def _saturated(options: DemoOptions, tally: Tally, driven_s: float) -> bool:
    """Whether the machine could not follow the rate."""
    hits = [ms for view in VIEWS for ms in tally.of(view, "hit")]
    return driven_s > options.seconds + DRAIN_S or (percentile(hits, 0.5) or 0.0) > SLOW_HIT_MS


def wrong(found: Facts, tally: Tally) -> list[str]:
    """Findings that fail any run, however short."""
    problems = [f"{name}: {found[name]}, wanted 0" for name in ZEROES if found[name]]
    counted = {"stale read", "stale entry", "forbidden read served", "5xx"}
    problems += [f"{kind}: {count} times" for kind, count in tally.wrong.items() if kind not in counted]
    unapplied = found["events_recorded"] - found["events_applied"]
    if unapplied:
        problems.append(f"unapplied events: {unapplied}")
    if found["events_recorded"] < found["writes"]:
        problems.append(f"{found['writes']} writes recorded only {found['events_recorded']} events")
    undelivered = found["exports_requested"] - found["exports_delivered"]
    if undelivered:
        problems.append(f"undelivered requests: {undelivered}")
    if found["verifier"]["stale"]:
        problems.append(f"the worker's verifier found {found['verifier']['stale']} entries stale")
    dead = sum(lane["dead"] for lane in found["jobs"].values())
    if dead:
        problems.append(f"dead jobs: {dead}")
    if not found["schedule"].get("keep_warm") or not found["schedule"].get("warm_active"):
        problems.append("no scheduled warming ran")
    return problems


def missed(found: Facts) -> list[str]:
    """Floors that were not reached."""
    return [
        f"floor missed: {name} {floor['measured']}, wanted at least {floor['wanted']}"
        for name, floor in found["floors"].items()
        if not floor["met"]
    ]


def _latencies(tally: Tally, view: str) -> dict[str, float | None]:
    hits, sql = tally.of(view, "hit"), tally.of(view, "bypass")
    return {
        "hit_p50": percentile(hits, 0.5),
        "hit_p99": percentile(hits, 0.99),
        "sql_p50": percentile(sql, 0.5),
        "sql_p99": percentile(sql, 0.99),
    }
