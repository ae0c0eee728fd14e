"""What a read, a change, a job and an idle process cost on every server; from that, what a fleet needs.

Measures on servers of its own, prints the costs and the model's answer for 10 to 1,000 web processes, and
checks the model by a fleet with the connections and loops of 200 web processes. docs/scaling.md explains it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench import simulated
from bench.blocks import Scale
from bench.changes import Change, changes
from bench.ground import Bench, default_worker, prepared, settled_at
from bench.meters import NAMES, Costs, Meters
from bench.model import ALONE, HIT, JOB, MISS, NEAR, OF_MANY, SIZES, WEB, WORKER, Fleet, limit_of, needs
from bench.noop import TINY, Unlink, domain
from bench.pages import Page, pages
from bench.rows.drain import drained
from jobs.events import ContentsChanged
from stoker import Applied, Stoker

PAGES, READERS = 64, 16
HITS, CHANGES, MANY, JOBS = 20_000, 300, 3_000, 2_000
IDLE_S, IDLERS, PATIENCE_S = 10.0, 10, 60.0
WIDTH = 150


@dataclass(frozen=True)
class Measured:
    """Costs by what is done, and the connections of one more web process and one more worker."""

    costs: dict[str, Costs]
    connections: dict[str, dict[str, float]]


def main() -> None:
    """Measure, model, check."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.scaling",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the costs to this file")
    parser.add_argument("--without-fleet", action="store_true", help="do not check the model by a run")
    given = parser.parse_args()
    console = Console(width=WIDTH)
    with prepared(Scale(), default_worker()) as bench:
        measured = asyncio.run(_measure(bench))
        _show_costs(console, measured)
        _show_needs(console, measured.costs)
        if not given.without_fleet:
            asyncio.run(simulated.check(bench, measured.costs, console))
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(asdict(measured), indent=1))


async def _measure(bench: Bench) -> Measured:
    costs: dict[str, Costs] = {}
    meters = await Meters.of(bench)
    async with bench.stoker(domain, near_bytes=0) as stoker:
        idle, alone = await _idle(meters), await meters.connections()
        [page] = await pages(stoker, 1)
        async with _many(bench) as opened:
            several = await meters.spent(lambda: _sips(opened, page), IDLE_S, {})
            with_several = await meters.connections()
        awake = _less(several, idle, IDLERS)
        async with bench.worker(stoker, STOKER__DOMAIN="bench.noop") as worker:
            meters.workers = (worker.pid,)
            both, with_worker = await _idle(meters), await meters.connections()
            costs[WORKER] = _less(both, idle, 1)
            costs |= await _work(bench, stoker, meters, both)
            costs[WEB] = _less(awake, costs[NEAR], 1)  # besides the one hit of each second
    await meters.close()
    connections = {
        "a web process": {name: (with_several[name] - alone[name]) / IDLERS for name in alone},
        "a worker": {name: float(with_worker[name] - alone[name]) for name in alone},
    }
    return Measured(costs, connections)


async def _work(bench: Bench, stoker: Stoker, meters: Meters, idle: Costs) -> dict[str, Costs]:
    found = await pages(stoker, PAGES)
    wanted = await changes(stoker, CHANGES)
    costs = {HIT: await meters.spent(lambda: _hits(stoker, found), HITS, idle)}
    async with Stoker.opened(bench.settings(), domain) as near:
        await _hits(near, found)
        costs[NEAR] = await meters.spent(lambda: _hits(near, found), HITS, idle)
    await meters.cache.flushall()
    costs[MISS] = await meters.spent(lambda: _misses(stoker, wanted), CHANGES, idle)
    costs[ALONE] = await meters.spent(lambda: _changes(stoker, wanted), CHANGES, idle)
    costs[OF_MANY] = await meters.spent(lambda: _many_changes(stoker, wanted), MANY, idle)
    jobs = [Unlink(key="") for _ in range(JOBS)]
    costs[JOB] = await meters.spent(lambda: drained(stoker, TINY, jobs), JOBS, idle)
    return costs


async def _hits(stoker: Stoker, found: Sequence[Page]) -> None:
    async def reader(number: int) -> None:
        for turn in range(HITS // READERS):
            page = found[(number * 7 + turn) % len(found)]
            await stoker.read("dashboard", page.project, reader=page.owner)

    await asyncio.gather(*map(reader, range(READERS)))


async def _sips(opened: Sequence[Stoker], page: Page) -> None:
    """One read a second of each, for IDLE_S: it knows its cache, and has counters to send."""
    for _ in range(int(IDLE_S)):
        await asyncio.gather(*(one.read("dashboard", page.project, reader=page.owner) for one in opened))
        await asyncio.sleep(1)


async def _misses(stoker: Stoker, wanted: Sequence[Change]) -> None:
    """Entry and access of each are cold."""
    for one in wanted:
        await stoker.read("dashboard", one.project, reader=one.owner)


async def _changes(stoker: Stoker, wanted: Sequence[Change]) -> None:
    """One after the other, each applied before the next one: nothing is shared by two of them."""
    for one in wanted:
        async with stoker.session() as session, session.begin():
            receipt = stoker.record(session, ContentsChanged(project_id=one.project))
        assert await receipt.applied() is Applied.APPLIED


async def _many_changes(stoker: Stoker, wanted: Sequence[Change]) -> None:
    """By as many writers as there are readers, until the last one is applied."""
    numbers = iter(range(MANY))

    async def writer() -> None:
        for number in numbers:
            async with stoker.session() as session, session.begin():
                stoker.record(session, ContentsChanged(project_id=wanted[number % len(wanted)].project))

    await asyncio.gather(*(writer() for _ in range(READERS)))
    await settled_at(stoker, PATIENCE_S)


@asynccontextmanager
async def _many(bench: Bench) -> AsyncIterator[list[Stoker]]:
    opened = [await Stoker.open(bench.settings(), domain) for _ in range(IDLERS)]
    try:
        yield opened
    finally:
        for one in opened:
            await one.close()


async def _idle(meters: Meters) -> Costs:
    return await meters.spent(lambda: asyncio.sleep(IDLE_S), IDLE_S, {})


def _less(costs: Costs, others: Costs, among: float) -> Costs:
    return {name: max(0.0, costs[name] - others[name]) / among for name in costs}


def _show_costs(console: Console, measured: Measured) -> None:
    table = Table(title="What one costs")
    table.add_column("")
    for what in measured.costs:
        table.add_column(what, justify="right")
    for name in NAMES:
        table.add_row(name, *(f"{cost[name]:,.2f}" for cost in measured.costs.values()))
    console.print(table)
    for whose, found in measured.connections.items():
        console.print(f"connections of {whose}, idle: " + ", ".join(f"{n} {c:g}" for n, c in found.items()))


def _show_needs(console: Console, costs: dict[str, Costs]) -> None:
    table = Table(title="What a fleet needs: cores that are busy, and connections")
    for name in ("web processes", "reads/s", *needs(Fleet(1, 1.0), costs), "first limit"):
        table.add_column(name, justify="right" if name != "first limit" else "left")
    for fleet in SIZES:
        found = needs(fleet, costs)
        cells = [f"{value:,.2f}" if value < 100 else f"{value:,.0f}" for value in found.values()]
        table.add_row(f"{fleet.processes:,}", f"{fleet.reads_per_s:,.0f}", *cells, limit_of(fleet, found))
    console.print(table)


if __name__ == "__main__":
    main()
