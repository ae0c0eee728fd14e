"""Traces of reads: who read what, and when. A CSV file, plain or gzip.

    time,reader,entry,build_ms,kind
    1270047582,ann,topic:42/dashboard,18.5,
    2010-03-31T15:00:56Z,bob,topic:42/detail,,
    1270047700,,topic:42,,change

`time` is seconds since 1970, or an ISO 8601 time (UTC if it names no zone). `build_ms` and `kind` may be left
out or empty; columns of other names are ignored. A row of the kind `change` says that an entry was
invalidated: `topic:42/detail` with any parameters (what follows a question mark), or all of the scope
`topic:42`.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
import zlib
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Self, TextIO

from stoker.errors import StokerError
from stoker.numbers import LATEST_S

COLUMNS = ("time", "reader", "entry")
BUILD = "build_ms"
KIND = "kind"
READ, CHANGE = "read", "change"
HEADER = (*COLUMNS, BUILD, KIND)
GZIP_MAGIC = b"\x1f\x8b"
STDIN = Path("-")
STDIN_FILE = Path("/dev/stdin")
REPORT_EVERY = 10_000
"""Rows between two reports of progress."""
SHOWN = 60
"""Characters of a wrong text that a message shows."""


class TraceError(StokerError):
    """A trace cannot be read, or its file cannot be made; the message names the file and the line."""


class TraceNotWritten(StokerError):
    """The file of a trace can no longer be written: the disk is full, say."""


@dataclass
class Trace:
    """Reads in the order of time. Readers and entries are numbers; their names are in two lists.

    `times` are seconds since 1970. `build_s` has a negative number where the trace does not say what building
    the entry took. `changes`: when which entry or scope was invalidated, in the order of time.
    """

    times: array[float] = field(default_factory=lambda: array("d"))
    readers: array[int] = field(default_factory=lambda: array("l"))
    entries: array[int] = field(default_factory=lambda: array("l"))
    build_s: array[float] = field(default_factory=lambda: array("f"))
    reader_names: list[str] = field(default_factory=list)
    entry_names: list[str] = field(default_factory=list)
    changes: list[tuple[float, str]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.times)

    def upto(self, time: float) -> Trace:
        """The reads before a time."""
        end = next((at for at, one in enumerate(self.times) if one >= time), len(self))
        parts = (self.times[:end], self.readers[:end], self.entries[:end], self.build_s[:end])
        changes = [one for one in self.changes if one[0] < time]
        return Trace(*parts, self.reader_names, self.entry_names, changes)

    def changed_entries(self) -> list[tuple[float, int]]:
        """The changes of each entry that is read in the trace, in the order of time."""
        named: dict[str, list[int]] = {}
        for number, name in enumerate(self.entry_names):
            plain = name.partition("?")[0]
            for one in {name, plain, plain.rpartition("/")[0]}:
                named.setdefault(one, []).append(number)
        return [(time, number) for time, name in self.changes for number in named.get(name, ())]

    def by_reader(self) -> Trace:
        """The same reads, as if each reader had one page: it asks who will come, not what they read.

        Those pages never change.
        """
        return Trace(
            self.times, self.readers, self.readers, self.build_s, self.reader_names, self.reader_names
        )


class TraceWriter:
    """Puts reads together to a trace; they may come in any order."""

    def __init__(self) -> None:
        self._found = Trace()
        self._readers: dict[str, int] = {}
        self._entries: dict[str, int] = {}

    def add(self, time: float, reader: str, entry: str, build_s: float = -1.0) -> None:
        """One read."""
        found = self._found
        found.times.append(time)
        found.readers.append(self._readers.setdefault(reader, len(self._readers)))
        found.entries.append(self._entries.setdefault(entry, len(self._entries)))
        found.build_s.append(build_s)

    def change(self, time: float, name: str) -> None:
        """An entry, or all of a scope, was invalidated."""
        self._found.changes.append((time, name))

    def trace(self) -> Trace:
        """The reads and changes so far, sorted by time."""
        found = self._found
        order = sorted(range(len(found)), key=found.times.__getitem__)
        return Trace(
            array("d", map(found.times.__getitem__, order)),
            array("l", map(found.readers.__getitem__, order)),
            array("l", map(found.entries.__getitem__, order)),
            array("f", map(found.build_s.__getitem__, order)),
            list(self._readers),
            list(self._entries),
            sorted(found.changes),
        )


def read_trace(path: Path, report: Callable[[int], None] = lambda _: None) -> Trace:
    """The reads of a file, or of stdin if it is `-`; raises TraceError.

    `report` is called with the number of rows read so far.
    """
    writer = TraceWriter()
    line = 0
    try:
        with _opened(path) as file:
            rows = csv.reader(file, strict=True)
            columns = _columns(path, next(rows, []))
            for number, row in enumerate(rows, start=1):
                line = rows.line_num
                if row:
                    _add(writer, f"{path}, line {line}", columns, row)
                if number % REPORT_EVERY == 0:
                    report(number)
    except (OSError, EOFError, UnicodeError, zlib.error, csv.Error) as error:
        where = f"{path}, after line {line}" if line else f"{path}"
        raise TraceError(f"{where}: {_reason(error)}") from None
    trace = writer.trace()
    if not len(trace):
        raise TraceError(f"{path}: there is no read in it")
    return trace


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    """Open it once: what was read from a pipe cannot be read again."""
    with (STDIN_FILE if path == STDIN else path).open("rb") as raw:
        packed = raw.peek(len(GZIP_MAGIC)).startswith(GZIP_MAGIC)
        with gzip.GzipFile(fileobj=raw) if packed else nullcontext(raw) as plain:
            yield io.TextIOWrapper(plain, encoding="utf-8-sig", newline="")


def _reason(error: Exception) -> str:
    match error:
        case UnicodeError():
            return "it is not UTF-8"
        case EOFError():
            return "the gzip file is cut off"
        case zlib.error() | gzip.BadGzipFile():
            return f"the gzip file is damaged: {error}"
        case csv.Error():
            return f"this is no CSV: {error}; is a quote left open?"
        case OSError():
            return error.strerror or str(error)
    return str(error)


def _columns(path: Path, found: Sequence[str]) -> Mapping[str, int]:
    """Where each column stands."""
    if not found:
        raise TraceError(f"{path}: it is empty")
    missing = [name for name in COLUMNS if name not in found]
    twice = [name for name in HEADER if found.count(name) > 1]
    if missing or twice:
        wrong = f"no column {', '.join(missing)}" if missing else f"column {twice[0]} twice"
        first = ",".join(found)[:SHOWN]
        raise TraceError(
            f"{path}: {wrong} in its first line {first!r}, which must be like {','.join(HEADER)}"
        )
    return {name: at for at, name in enumerate(found)}


def _add(writer: TraceWriter, where: str, columns: Mapping[str, int], row: list[str]) -> None:
    if any(row[len(columns) :]):
        raise TraceError(
            f"{where}: it has more fields than the first line; what contains a comma must be quoted"
        )
    row += [""] * (len(columns) - len(row))
    if not (entry := row[columns["entry"]]):
        raise TraceError(f"{where}: it names no entry")
    time = _time(row[columns["time"]], where)
    kind = (row[columns[KIND]] if KIND in columns else "") or READ
    if kind == READ:
        took = row[columns[BUILD]] if BUILD in columns else ""
        writer.add(time, row[columns["reader"]], entry, _build_s(took, where) if took else -1.0)
    elif kind == CHANGE:
        writer.change(time, entry)
    else:
        raise TraceError(f"{where}: {KIND} is {kind[:SHOWN]!r}; it is {READ} or {CHANGE}")


def _time(text: str, where: str) -> float:
    try:
        found = float(text)
    except ValueError:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise TraceError(
                f"{where}: {text[:SHOWN]!r} is no time: give seconds since 1970, or ISO 8601"
            ) from None
        found = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if not 0 <= found <= LATEST_S:  # also refuses NaN
        hint = "; divide milliseconds by 1000" if LATEST_S < found < math.inf else ""
        raise TraceError(f"{where}: {text[:SHOWN]!r} is no time between 1970 and 9999, in seconds{hint}")
    return found


def _build_s(text: str, where: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise TraceError(f"{where}: {BUILD} is {text[:SHOWN]!r}, which is no number")
    if found < 0:
        raise TraceError(f"{where}: {BUILD} is negative")
    return found / 1000


class TraceFile:
    """Writes a trace to a file, packed if its name ends with `.gz`. A file that exists is refused.

    Raises TraceError, later TraceNotWritten. It counts what it has written, before packing.
    """

    def __init__(self, path: Path) -> None:
        try:
            opened = gzip.open if path.suffix == ".gz" else open
            self._file = opened(path, "xt", encoding="utf-8", newline="")
        except OSError as error:
            raise TraceError(f"{path}: {error.strerror or error}") from None
        self._path = path
        self._rows = csv.writer(self)
        self.bytes = 0
        self.reads = 0
        self.changes = 0
        self._rows.writerow(HEADER)

    def read(self, time: float, reader: str, entry: str, build_s: float) -> None:
        """Add a read; a negative `build_s`: not known."""
        took = f"{build_s * 1000:.3f}" if build_s >= 0 else ""
        self._rows.writerow([f"{time:.3f}", reader, entry, took, ""])
        self.reads += 1

    def change(self, time: float, name: str) -> None:
        """Add a change of an entry or a scope."""
        self._rows.writerow([f"{time:.3f}", "", name, "", CHANGE])
        self.changes += 1

    def write(self, text: str) -> int:
        """Write a line; called by the CSV writer."""
        self.bytes += len(text.encode())
        try:
            return self._file.write(text)
        except OSError as error:
            raise TraceNotWritten(f"{self._path}: {error.strerror or error}") from None

    def close(self) -> None:
        """Finish the file."""
        try:
            self._file.close()
        except OSError as error:
            raise TraceNotWritten(f"{self._path}: {error.strerror or error}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def write_trace(trace: Trace, path: Path) -> None:
    """Write a whole trace; raises TraceError, TraceNotWritten."""
    with TraceFile(path) as file:
        columns = zip(trace.times, trace.readers, trace.entries, trace.build_s, strict=True)
        for time, reader, entry, build_s in columns:
            file.read(time, trace.reader_names[reader], trace.entry_names[entry], build_s)
        for time, name in trace.changes:
            file.change(time, name)
