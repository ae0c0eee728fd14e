"""Plant faults at random in the example application, and print which command finds each.

Class and place of each fault are drawn by the seed: first the class, then one of all the places where such a
fault can be. Only one fault is there at a time.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from rich.console import Console
from rich.table import Table
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from bench.faults import captures, rules, views
from bench.faults.fault import Fault
from bench.faults.ground import Ground, ground_of
from jobs import domain
from stoker import Domain, embedded
from stoker.captures.install import install
from stoker.captures.standing import State, compare
from stoker.coverage.mutate import mutate
from stoker.coverage.proof import Proof
from stoker.migrate import migrate
from stoker.postgres import engine_of
from stoker.tables import SCHEMA

USERS = 20
"""Of the sample data."""
CLASSES: dict[str, Callable[[Ground], Iterable[Fault]]] = {
    "a rule forgets a view": rules.forgets_a_view,
    "a rule forgets a kind of scope": rules.forgets_a_scope_kind,
    "a rule names another scope": rules.names_another_scope,
    "a rule is soft, not hard": rules.is_soft,
    "an audience misses some": rules.misses_some_of_its_audience,
    "a capture lacks a column": captures.lacks_a_column,
    "a capture is not declared": captures.is_not_declared,
    "a capture fills a field wrongly": captures.names_another_column,
    "a trigger is disabled": captures.has_a_disabled_trigger,
    "a trigger is dropped": captures.has_a_dropped_trigger,
    "a loader shows a new column": views.shows_a_column,
    "a loader filters by a new column": views.filters_by_a_column,
    "a loader reads the clock": views.reads_the_clock,
}


@dataclass(frozen=True, slots=True)
class Found:
    """What each command said of a fault; empty where it found nothing."""

    cover: str
    mutate: str
    diff: str


def drawn(ground: Ground, seed: int, number: int) -> Iterator[tuple[str, Fault]]:
    """Faults, each with the name of its class; none twice."""
    random = Random(seed)
    places = {name: list(of_class(ground)) for name, of_class in CLASSES.items()}
    for _ in range(min(number, sum(map(len, places.values())))):
        name = random.choice([name for name, left in places.items() if left])
        yield name, places[name].pop(random.randrange(len(places[name])))


async def planted(database_url: str, engine: AsyncEngine, fault: Fault) -> Found:
    """Plant a fault, and ask all three commands."""
    await install(engine, fault.domain.captures, SCHEMA, print)
    async with engine.begin() as connection:
        for statement in fault.statements:
            await connection.execute(text(statement))
        compared = await compare(connection, fault.domain.captures, SCHEMA)
    proof = await mutate(database_url, fault.domain)
    diff = [one.said for one in compared if one.state is not State.SAME]
    return Found(_uncovered(proof), _missed(proof), "; ".join(diff))


def _uncovered(proof: Proof) -> str:
    columns = {f"{one.table}.{one.column}" for view in proof.views for one in view.uncovered}
    return _short([*sorted(columns), *(f"unseen: {view.view}" for view in proof.views if view.unseen)])


def _missed(proof: Proof) -> str:
    failed = [f"{one} failed" for one in proof.tried if one.failed]
    missed = [f"{change} -> {view.view}" for change, view in proof.missed]
    return _short([*failed, *missed, *(f"untouched: {view}" for view in proof.untouched)])


def _short(said: list[str]) -> str:
    return f"{said[0]}, and {len(said) - 1} more" if len(said) > 1 else "".join(said)


async def run(seed: int, number: int, console: Console) -> None:
    """Plant faults one after the other on servers of its own."""
    with tempfile.TemporaryDirectory() as folder, embedded.start(Path(folder), durable=False) as servers:
        url = servers.urls.database
        await migrate(url, domain)
        await _filled(url, domain)
        engine = engine_of(url)
        ground = await ground_of(url)
        if (found := await planted(url, engine, Fault("", domain))) != Found("", "", ""):
            console.print(f"found without a fault: {found}")
        table = Table("fault", "place", "cover", "cover --mutate", "captures diff", title=f"seed {seed}")
        for name, fault in drawn(ground, seed, number):
            found = await planted(url, engine, fault)
            console.print(f"{name}: {fault.place}", highlight=False)
            table.add_row(name, fault.place, found.cover, found.mutate, found.diff)
        console.print(table)
        await engine.dispose()


async def _filled(database_url: str, application: Domain) -> None:
    assert application.sample_data is not None
    await application.sample_data.load(database_url, 1, USERS, lambda _done, _total: None)


def main() -> None:
    """Read the command line, and run."""
    parser = argparse.ArgumentParser(prog="python -m bench.faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="draws other faults (default 1)")
    parser.add_argument("--faults", type=int, default=10, metavar="N", help="how many (default 10)")
    given = parser.parse_args()
    asyncio.run(run(given.seed, given.faults, Console(width=200)))


if __name__ == "__main__":
    main()
