"""Output of commands: notes and progress on stderr, results on stdout; plain text if it is not a terminal.

Values may come from untrusted callers: they are escaped and never interpreted as markup.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from rich.cells import cell_len, chop_cells

from stoker.errors import StokerError
from stoker.telemetry.plain import escaped, escaped_lines

Report = Callable[[int, int], None]
"""Called with the number done and the total; the total is 0 while it is unknown."""
GAP = "  "
NOTHING = "-"
HOME_AND_CLEAR = "\x1b[H\x1b[2J"
BEHIND = "    "
"""The indentation of columns that did not fit into the line of their row."""
SHORT = {
    "oldest_ready_age_s": "oldest_s",
    "reads_per_minute": "reads/min",
    "errors_per_minute": "errors/min",
}
"""Shorter headings for columns whose names are wider than their values."""


def note(message: str) -> None:
    """Write a message to stderr, beside the result."""
    sys.stderr.write(f"{escaped_lines(message)}\n")


class NotShown(StokerError):
    """The result could not be written to stdout."""


def show(message: str) -> None:
    """Print a result; raises NotShown where it cannot be written."""
    with written():
        sys.stdout.write(f"{escaped_lines(message)}\n")
        sys.stdout.flush()


@contextmanager
def written() -> Iterator[None]:
    """Raise NotShown if stdout is closed or full, or if its reader stops early."""
    if sys.stdout is None:  # Python sets None when it starts without a stdout
        raise NotShown("stdout is closed: the result is lost")
    try:
        yield
    except (OSError, ValueError) as error:  # ValueError: it was closed meanwhile
        # The rest of the buffer would fail again when the interpreter exits.
        with suppress(OSError, ValueError), Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        reason = getattr(error, "strerror", None) or str(error)
        raise NotShown(f"the result cannot be written to stdout: {reason}") from error


def show_json(value: Any, *, indent: int | None = 2) -> None:  # noqa: ANN401 - anything that JSON takes
    """Print a result for programs, as ASCII: no control character reaches a terminal."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    show(json.dumps(value, default=str, indent=indent))


def models(title: str, columns: Sequence[str], found: Sequence[object]) -> None:
    """Print these fields of objects as a table."""
    table(title, columns, [[getattr(one, name) for name in columns] for one in found])


def named(title: str, columns: Sequence[str], found: Mapping[str, object]) -> None:
    """Print these fields of named objects, each after its name. The title is in the singular."""
    rows = [[name, *(getattr(one, column) for column in columns)] for name, one in found.items()]
    table(f"{title}s", [title, *columns], rows)


def facts(title: str, found: Sequence[tuple[str, object]]) -> None:
    """Print names and values, one pair a line; a value that does not fit goes on in the next line."""
    if not _on_terminal():
        table(title, ("fact", "value"), found)
        return
    show(title)
    indent = max(cell_len(name) for name, _ in found) + len(GAP)
    for name, value in found:
        first, *others = _wrapped(_cell(value), shutil.get_terminal_size().columns - indent)
        show(name + " " * (indent - cell_len(name)) + first)
        for line in others:
            show(" " * indent + line)
    show("")


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table, at most as wide as the terminal; without one a tab-separated line for each row."""
    cells = [[_cell(value) for value in row] for row in rows]
    show(f"# {title}" if not _on_terminal() else title)
    if not _on_terminal():
        for row in [list(columns), *cells]:
            with written():
                sys.stdout.write("\t".join(row) + "\n")
        return
    if not cells:
        show("none\n")
        return
    for line in fitted(
        [SHORT.get(name, name) for name in columns], cells, shutil.get_terminal_size().columns
    ):
        show(line)
    show("")


def fitted(columns: Sequence[str], cells: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    """The lines of a table. Columns that do not fit follow below their row, with their names."""
    widths = [max(cell_len(row[at]) for row in [columns, *cells]) for at in range(len(columns))]
    beside: list[int] = []
    left = width
    for at, needed in enumerate(widths):
        if needed <= left:
            beside.append(at)
            left -= needed + len(GAP)
    for row in [columns, *cells]:
        if beside:
            yield GAP.join(row[at] + " " * (widths[at] - cell_len(row[at])) for at in beside).rstrip()
        if row is not columns and len(beside) < len(columns):
            below = [at for at in range(len(columns)) if at not in beside and row[at] != NOTHING]
            told = ", ".join(f"{columns[at]} {row[at]}" for at in below)
            yield from (BEHIND + line for line in _wrapped(told, width - len(BEHIND)) if line)


def _wrapped(text: str, width: int) -> Iterator[str]:
    """Lines of at most `width` cells, broken between words where possible."""
    line = ""
    for word in text.split():
        if line and cell_len(f"{line} {word}") > width:
            yield line
            line = ""
        *whole, line = chop_cells(f"{line} {word}" if line else word, width)
        yield from whole
    yield line


def size(bytes_: int) -> str:
    """A number of bytes as people read it."""
    value, unit = float(bytes_), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:  # noqa: PLR2004 - the next unit
            break
        value, unit = value / 1024, larger
    return f"{value:.1f} {unit}" if unit != "B" else f"{bytes_} B"


def redraw(draw: Callable[[], None]) -> None:
    """Draw a new picture over the last one, cut to the height of the terminal; without one below it."""
    if not _on_terminal():
        show("")
        draw()
        return
    rows = shutil.get_terminal_size().lines
    screen = _Screen()
    with redirect_stdout(screen):
        draw()
    # What matters most is drawn first, so that the end may be left out.
    lines = [line for line in screen.getvalue().splitlines() if line]
    if len(lines) > rows - 1:
        left_out = len(lines) - rows + 2
        lines = [*lines[: rows - 2], f"... {left_out} lines more: stoker status"]
    with written():
        sys.stdout.write(HOME_AND_CLEAR + "\n".join(lines) + "\n")
        sys.stdout.flush()


class _Screen(io.StringIO):
    """Collects what is drawn for a terminal."""

    def isatty(self) -> bool:
        return True


@contextmanager
def progress(what: str) -> Iterator[Report]:
    """A progress bar on stderr; without a terminal one line for each tenth."""
    # Rich takes a tenth of a second to import, which no other command needs to wait for.
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
    )

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


def _on_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()


def _cell(value: object) -> str:
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"
    if isinstance(value, Mapping):
        return json.dumps(value, default=str)
    # Numbers get no separators, because they may be ids.
    return _decimal(value) if isinstance(value, float) else escaped(str(value))


def _decimal(value: float) -> str:
    """To two digits after the point; to four where these would show a short time as none."""
    return f"{value:.2f}" if value == 0 or abs(value) >= 0.1 else f"{value:.4f}"  # noqa: PLR2004 - see above
