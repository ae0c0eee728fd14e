"""Measure Stoker and other libraries on servers of the benchmark's own, and print the results.

This is a report, not a test: it exits with 0 even when a row does not hold, and says so. docs/benchmarks.md
explains the rows.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from bench import report
from bench.blocks import FULL, QUICK, Scale
from bench.figures import Figure, Summary
from bench.ground import Bench, NotThere, default_worker, prepared
from bench.peer import PeerError
from bench.rows import ROWS, Row

LONGEST_ROW_S = 300
"""A row that hangs must not keep the others from being measured."""
PLAIN_WIDTH = 132
"""Columns where there is no terminal."""


class TookTooLong(Exception):
    """A row was not measured within its limit."""


@dataclass(frozen=True)
class Options:
    """The command line."""

    rows: Sequence[Row]
    scale: Scale
    json: Path | None
    worker: str


def main() -> None:
    """Measure, print and write."""
    options = _options()
    # On SIGTERM it still stops what it has started: workers, peers, servers.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    if options.scale is QUICK:
        console.print("[yellow]This is a quick run: do not quote its figures.[/]")
    rows: list[Summary] = []
    left_out: dict[str, str] = {}
    started = time.monotonic()
    with prepared(options.scale, options.worker) as bench:
        console.print(f"servers and sample data: {time.monotonic() - started:.1f} s", highlight=False)
        for row in options.rows:
            try:
                rows += _measured(row, bench, console)
            except (NotThere, PeerError, TookTooLong) as reason:
                left_out.update(dict.fromkeys(row.ids, str(reason)))
            except Exception as error:  # noqa: BLE001 - one row's mistake must not take the others' figures
                console.print_exception()
                left_out.update(dict.fromkeys(row.ids, f"{type(error).__name__}: {error}"))
            if options.json:
                report.write(options.json, rows)
    report.show(console, rows, left_out)
    console.print(f"{time.monotonic() - started:.0f} s in all", highlight=False)


def _measured(row: Row, bench: Bench, console: Console) -> list[Summary]:
    started = time.monotonic()
    with console.status(f"measuring {', '.join(row.ids)}"):
        figures = asyncio.run(_awaited(row, bench))
    found = [figure.summary() for figure in figures]
    said = "; ".join(f"{one.row} {one.ours:g} / {one.theirs:g} = {one.ratio:g}" for one in found)
    console.print(f"{time.monotonic() - started:6.1f} s  {said}", highlight=False)
    return found


async def _awaited(row: Row, bench: Bench) -> list[Figure]:
    try:
        async with asyncio.timeout(None if bench.scale.full else LONGEST_ROW_S) as limit:
            return await row.measure(bench)
    except TimeoutError:
        if limit.expired():
            raise TookTooLong(f"it took over {LONGEST_ROW_S} s") from None
        raise


def _options() -> Options:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        epilog=_rows_explained(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--full", action="store_true", help="more and longer blocks: no limit of time")
    size.add_argument("--quick", action="store_true", help="two short blocks, only to see whether it works")
    parser.add_argument("--row", action="append", default=[], metavar="ID", help="only this row; repeatable")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows to this file")
    parser.add_argument(
        "--worker",
        default=default_worker(),
        metavar="COMMAND",
        help="the command of another worker process to measure",
    )
    given = parser.parse_args()
    known = {name: row for row in ROWS for name in row.ids}
    unknown = [name for name in given.row if name not in known]
    if unknown:
        parser.error(f"no row {', '.join(unknown)}; there are: {', '.join(known)}")
    wanted = [row for row in ROWS if not given.row or any(name in given.row for name in row.ids)]
    scale = FULL if given.full else QUICK if given.quick else Scale()
    return Options(wanted, scale, given.json, given.worker)


def _rows_explained() -> str:
    return "rows, in the order in which they are measured:\n" + "\n".join(
        f"  {', '.join(row.ids)}\n      {row.about}" for row in ROWS
    )


if __name__ == "__main__":
    main()
