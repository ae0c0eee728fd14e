"""`stoker cover`: which columns the views read, and whether anything records their changes."""

from __future__ import annotations

import asyncio
from dataclasses import asdict

import typer

from stoker.cli.display import show, show_json, table
from stoker.cli.servers import DATA, Data, Embedded, Json, session
from stoker.coverage.cover import ViewCoverage
from stoker.coverage.cover import cover as covered
from stoker.domain import load_domain


def cover(data: Data = DATA, *, embedded: Embedded = False, as_json: Json = False) -> None:
    """Show which columns each view reads and what records their changes; exit 1 where nothing does.

    Builds sample entries in a transaction that is rolled back. Needs only DATABASE_URL, with some data.

    Example: stoker cover --json
    """
    with session(embedded=embedded, data=data, needs=("database_url",)) as opened:
        settings = opened.settings
        domain = load_domain(settings.domain)
        found = asyncio.run(covered(opened.database_url, domain, schema=settings.database.schema_name))
    if as_json:
        show_json([{**asdict(one), "sound": one.sound} for one in found])
    else:
        _draw(found)
    if not all(one.sound for one in found):
        raise typer.Exit(1)


def _draw(found: list[ViewCoverage]) -> None:
    rows = [
        [one.view, f"{read.table}.{read.column or '(rows)'}", ", ".join(read.covered_by) or "NOTHING"]
        for one in found
        for read in one.reads
    ]
    table("columns", ["view", "reads", "recorded by"], rows)
    for one in found:
        for unseen in one.unseen:
            show(f"{one.view}: unseen: {unseen}")
    missing = sum(len(one.uncovered) for one in found)
    show(f"{len(rows)} columns read by {len(found)} views; {missing} of them are recorded by nothing")
