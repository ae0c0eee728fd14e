"""`stoker cover`: which columns the views read, and whether anything records their changes."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from stoker.cli.display import progress, show, show_json, table
from stoker.cli.servers import DATA, Data, Embedded, Json, session
from stoker.coverage.cover import ViewCoverage
from stoker.coverage.cover import cover as covered
from stoker.coverage.mutate import mutate
from stoker.coverage.proof import Proof
from stoker.domain import load_domain

Mutate = Annotated[
    bool, typer.Option("--mutate", help="Also change what is read, and compare entries; all is rolled back.")
]


def cover(
    data: Data = DATA, *, mutate_: Mutate = False, embedded: Embedded = False, as_json: Json = False
) -> None:
    """Show which columns each view reads and what records their changes; exit 1 where nothing does.

    With --mutate: changes each of them, and exits 1 where an entry changed that nothing invalidated.
    Needs only DATABASE_URL, with some data. Nothing is committed.

    Example: stoker cover --mutate
    """
    with session(embedded=embedded, data=data, needs=("database_url",)) as opened:
        domain, schema = load_domain(opened.settings.domain), opened.settings.database.schema_name
        proof = None
        if mutate_:
            with progress("trying changes") as report:
                proof = asyncio.run(mutate(opened.database_url, domain, schema=schema, report=report))
        views = proof.views if proof else asyncio.run(covered(opened.database_url, domain, schema=schema))
    sound = proof.sound if proof else all(one.sound for one in views)
    if as_json:
        show_json(
            {"sound": sound, "views": [_view(one) for one in views], **(_proof(proof) if proof else {})}
        )
    else:
        _draw(views)
        if proof:
            _draw_proof(proof)
    if not sound:
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


def _draw_proof(proof: Proof) -> None:
    missed = [
        [one, found.view, found.entry, found.row, ", ".join(found.events) or "no event", found.times]
        for one, found in proof.missed
    ]
    if missed:
        table("missed", ["change", "view", "entry", "row", "recorded", "times"], missed)
    if proof.needless:
        table(
            "needless",
            ["change", "view", "invalidated", "changed"],
            [[one, view.view, view.invalidated, 0] for one, view in proof.needless],
        )
    unproven = [[one, one.unproven] for one in proof.tried if one.unproven]
    if unproven:
        table("unproven", ["change", "why"], unproven)
    for one in proof.tried:
        if one.failed:
            show(f"{one}: a rule failed: {one.failed}")
        if one.believed:
            show(f"{one}: believed: {', '.join(one.believed)} cannot be made from a row")
    for name in proof.untouched:
        show(f"{name}: no change changed an entry of this view, so nothing is proven of it")
    for entry in proof.unstable:
        show(f"{entry} changes by itself: it was not compared")
    changes = sum(one.changes for one in proof.tried)
    show(
        f"{changes} changes of {len(proof.tried)} columns and tables tried on {proof.entries} entries; "
        f"{len(proof.missed)} missed, {len(proof.needless)} needless, {len(unproven)} unproven"
    )


def _view(one: ViewCoverage) -> dict[str, Any]:
    return {
        "view": one.view,
        "sound": one.sound,
        "samples": [str(key) for key in one.samples],
        "reads": [
            {"table": read.table, "column": read.column, "covered_by": read.covered_by} for read in one.reads
        ],
        "unseen": one.unseen,
    }


def _proof(proof: Proof) -> dict[str, Any]:
    return {
        "entries": proof.entries,
        "unstable": proof.unstable,
        "untouched": proof.untouched,
        "missed": len(proof.missed),
        "needless": len(proof.needless),
        "changes": [
            {
                "change": str(one),
                "tried": one.changes,
                "effective": one.effective,
                "unproven": one.unproven or None,
                "failed": one.failed or None,
                "believed": one.believed,
                "missed": [
                    {
                        "view": found.view,
                        "entry": str(found.entry),
                        "row": found.row,
                        "events": found.events,
                        "times": found.times,
                    }
                    for found in one.missed.values()
                ],
                "invalidated": [
                    {"view": view.view, "times": view.invalidated, "unchanged": view.unchanged}
                    for view in one.needless.values()
                ],
            }
            for one in proof.tried
        ],
    }
