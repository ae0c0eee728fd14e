"""A fleet with the connections and loops of 200 web processes in eight processes: whether the model holds."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rich.console import Console
from sqlalchemy import make_url

from bench.changes import changes
from bench.ground import Bench
from bench.meters import Costs, Meters
from bench.model import Fleet, load
from bench.noop import domain
from bench.peer import CHECKOUT, LOG
from stoker.embedded import EmbeddedError
from stoker.embedded.pgbouncer import pooled

PROCESSES, STOKERS_EACH = 8, 25
READS_PER_S, CHANGES_PER_READ, SECONDS, PAGES = 1.0, 0.01, 20.0, 200
SETTLE_S = 3.0
"""After the last one was opened."""
POOL = 24
"""Connections to Postgres for all of them."""
COMPARED = (
    "cache commands",
    "cache bytes out",
    "cache CPU us",
    "queue commands",
    "Postgres transactions",
    "Postgres CPU us",
)


async def check(bench: Bench, costs: Mapping[str, Costs], console: Console) -> None:
    """Run it, and compare what the servers spent with what the model says."""
    try:
        with pooled(make_url(bench.urls.database), connections=POOL) as pooler:
            behind = replace(bench, urls=replace(bench.urls, database=pooler.url))
            await _check(bench, behind, costs, console)
    except EmbeddedError as missing:  # without a pooler they would need more connections than there are
        console.print(f"[yellow]left out[/] the fleet: {missing}", highlight=False)


async def _check(bench: Bench, behind: Bench, costs: Mapping[str, Costs], console: Console) -> None:
    meters = await Meters.of(bench)
    async with bench.stoker(domain) as stoker:
        found = await changes(stoker, PAGES)
        places = [(one.project, one.owner) for one in found]
        for project, owner in places:
            await stoker.read("dashboard", project, reader=owner)
        async with bench.worker(stoker, STOKER__DOMAIN="bench.noop"):
            fleet = [await _started(behind, number, places) for number in range(PROCESSES)]
            try:
                await asyncio.gather(*(_said(one) for one in fleet))
                await asyncio.sleep(SETTLE_S)
                connections = await meters.connections()
                said: list[dict[str, Any]] = []

                async def run() -> None:
                    for one in fleet:
                        _tell(one, "go")
                    said.extend(json.loads(line) for line in await asyncio.gather(*map(_said, fleet)))

                spent = await meters.spent(run, SECONDS, {})
            finally:
                for one in fleet:
                    if one.returncode is None:
                        one.terminate()
                await asyncio.gather(*(one.wait() for one in fleet))
    await meters.close()
    _show(console, costs, spent, said, connections)


async def _started(bench: Bench, seed: int, places: list[tuple[int, int]]) -> Process:
    with LOG.open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bench.fleet"),
            stdin=PIPE,
            stdout=PIPE,
            stderr=log,
            cwd=CHECKOUT,
            env=bench.env,
        )
    orders = {
        "stokers": STOKERS_EACH,
        "seed": seed,
        "seconds": SECONDS,
        "reads_per_s": READS_PER_S,
        "changes_per_read": CHANGES_PER_READ,
        "pages": places,
    }
    _tell(process, json.dumps(orders))
    return process


def _tell(process: Process, line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n".encode())


async def _said(process: Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(120):
        return (await process.stdout.readline()).decode()


def _show(
    console: Console,
    costs: Mapping[str, Costs],
    spent: Costs,
    said: list[dict[str, Any]],
    connections: Mapping[str, int],
) -> None:
    counts: Counter[str] = sum((Counter(one["counts"]) for one in said), Counter())
    reads = sum(counts[state] for state in ("hit", "miss", "stale", "bypass"))
    fleet = Fleet(
        PROCESSES * STOKERS_EACH,
        reads / SECONDS,
        counts["hit"] / max(1, reads),
        near=0.0,
        changes=counts["changes"] / max(1, reads),
        jobs=0.0,
        workers=1,
    )
    console.print(
        f"a fleet of {fleet.processes} web processes in {PROCESSES}: {dict(counts)}, "
        f"slowest process p50 {max(one['p50_ms'] for one in said):.1f} ms, "
        f"p99 {max(one['p99_ms'] for one in said):.1f} ms; connections {dict(connections)}",
        highlight=False,
    )
    for name in COMPARED:
        said_s = load(fleet, costs, name)
        console.print(f"  {name}: {spent[name]:,.0f} a second, the model says {said_s:,.0f}", highlight=False)
