"""The table that a person reads and the JSON that a program reads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from bench.figures import Summary

TITLE = "Stoker compared with other libraries"
CAPTION = """\
Medians of interleaved blocks, one of ours and one of theirs in turn. ratio = ours / theirs; quartiles: those
of the ratio, pair by pair. wanted is about the ratio, unless it says "ours"; "-": the row only informs."""
HOLDS = {True: "[green]yes[/]", False: "[bold red]NO[/]", None: "-"}


def table(rows: Sequence[Summary]) -> Table:
    """All rows, one a line."""
    made = Table(title=TITLE, caption=CAPTION, box=SIMPLE_HEAD, caption_justify="left")
    for name in ("row", "ours", "theirs", "unit", "against", "ratio", "quartiles", "wanted", "holds"):
        right = name in {"ours", "theirs", "ratio"}
        made.add_column(name, justify="right" if right else "left", no_wrap=name != "against")
    for row in rows:
        low, _, high = row.quartiles
        made.add_row(
            row.row,
            f"{row.ours:,.6g}",
            f"{row.theirs:,.6g}",
            row.unit,
            row.against,
            f"{row.ratio:.3g}",
            f"{low:.3g}..{high:.3g}",
            row.wanted or "-",
            HOLDS[row.holds],
        )
    return made


def show(console: Console, rows: Sequence[Summary], left_out: dict[str, str]) -> None:
    """The table, what needs saying about a figure, what is missing, and the rows that do not hold."""
    console.print(table(rows))
    for row in rows:
        if row.note:
            console.print(f"[bold]{row.row}[/]: {row.note}", highlight=False)
    for name, why in left_out.items():
        console.print(f"[yellow]left out[/] {name}: {why}", highlight=False)
    failed = [row.row for row in rows if row.holds is False]
    if failed:
        console.print(f"[bold red]{len(failed)} rows do not hold:[/] {', '.join(failed)}")
    elif rows:
        console.print("[green]Every row with a bound holds.[/]")


def write(path: Path, rows: Sequence[Summary]) -> None:
    """Write the list of rows; the file appears whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps([row.to_json() for row in rows], indent=1) + "\n")
    draft.replace(path)
