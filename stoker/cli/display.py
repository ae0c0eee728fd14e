"""What commands show: notes and progress on stderr, results on stdout; plain where it is no terminal."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from stoker.errors import StokerError

Report = Callable[[int, int], None]
"""Called with what is done and the total; the total may be 0 while it is unknown."""


def note(message: str) -> None:
    """Say what happens, beside the result."""
    sys.stderr.write(f"{message}\n")


class NotShown(StokerError):
    """Nobody can read the result."""


def show(message: str) -> None:
    """Print a result; raises NotShown where it cannot be written."""
    with written():
        sys.stdout.write(f"{message}\n")
        sys.stdout.flush()


@contextmanager
def written() -> Iterator[None]:
    """Raise NotShown for a stdout that is closed, full or not read to its end."""
    if sys.stdout is None:  # how Python starts without one
        raise NotShown("stdout is closed: the result is lost")
    try:
        yield
    except (OSError, ValueError) as error:  # ValueError: it was closed meanwhile
        # What lies in its buffer would fail again when the interpreter ends.
        with suppress(OSError, ValueError), Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        reason = getattr(error, "strerror", None) or str(error)
        raise NotShown(f"the result cannot be written to stdout: {reason}") from error


def show_json(value: Any) -> None:  # noqa: ANN401 - anything that JSON takes
    """Print a result for programs."""
    show(json.dumps(value, default=str, indent=2))


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table: drawn on a terminal, one tab-separated line for each row elsewhere."""
    cells = [[_cell(value) for value in row] for row in rows]
    console = Console()
    if not console.is_terminal:
        show(f"# {title}")
        for row in [list(columns), *cells]:
            show("\t".join(row))
        return
    drawn = Table(title=title, title_justify="left", header_style="bold")
    for number, column in enumerate(columns):
        drawn.add_column(column, justify="right" if number else "left")
    for row in cells:
        drawn.add_row(*row)
    with written():
        console.print(drawn)


def clear() -> None:
    """Begin a new picture: on a terminal at its top, elsewhere after an empty line."""
    console = Console()
    if console.is_terminal:
        console.clear()
    else:
        show("")


@contextmanager
def progress(what: str) -> Iterator[Report]:
    """A progress bar on stderr; away from a terminal a line for each tenth."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Tenths(what)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total or None)


class _Tenths:
    def __init__(self, what: str) -> None:
        self._what = what
        self._shown = -1

    def __call__(self, done: int, total: int) -> None:
        tenth = 10 * done // total if total else -1
        if tenth > self._shown:
            self._shown = tenth
            note(f"{self._what}: {done:,} of {total:,}")


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"
    if isinstance(value, float):
        return f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
