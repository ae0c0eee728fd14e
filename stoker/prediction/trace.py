"""Traces of reads: who read what, and when. A CSV file, plain or gzip.

    time,reader,entry,build_ms,kind
    1270047582,ann,topic:42/dashboard,18.5,
    2010-03-31T15:00:56Z,bob,topic:42/detail,,
    1270047700,,topic:42,,change

`time` is seconds since 1970, or an ISO 8601 time (UTC if it names no zone). `build_ms` and `kind` may be left
out or empty. A row of the kind `change` says that an entry was invalidated: `topic:42/detail` with any
parameters (what follows a question mark), or all of the scope `topic:42`.
"""

from __future__ import annotations

import csv
import gzip
import math
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
REPORT_EVERY = 10_000
"""Lines between two reports of progress."""


class TraceError(StokerError):
    """A trace cannot be read; the message names the file and the line."""


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
        self._reads: list[tuple[float, int, int, float]] = []
        self._readers: dict[str, int] = {}
        self._entries: dict[str, int] = {}
        self._changes: list[tuple[float, str]] = []

    def add(self, time: float, reader: str, entry: str, build_s: float = -1.0) -> None:
        """One read."""
        who = self._readers.setdefault(reader, len(self._readers))
        what = self._entries.setdefault(entry, len(self._entries))
        self._reads.append((time, who, what, build_s))

    def change(self, time: float, name: str) -> None:
        """An entry, or all of a scope, was invalidated."""
        self._changes.append((time, name))

    def trace(self) -> Trace:
        """The reads and changes so far, sorted by time."""
        self._reads.sort(key=lambda read: read[0])
        columns = list(zip(*self._reads, strict=True)) or [(), (), (), ()]
        return Trace(
            array("d", columns[0]),
            array("l", columns[1]),
            array("l", columns[2]),
            array("f", columns[3]),
            list(self._readers),
            list(self._entries),
            sorted(self._changes),
        )


def read_trace(path: Path, report: Callable[[int], None] = lambda _: None) -> Trace:
    """The reads of a file; raises TraceError. `report` is called with the number of lines read so far."""
    writer = TraceWriter()
    with _opened(path) as file:
        rows = csv.DictReader(file)
        _check_header(path, rows.fieldnames or ())
        try:
            for number, row in enumerate(rows, start=1):
                _add(writer, path, rows.line_num, row)
                if number % REPORT_EVERY == 0:
                    report(number)
        except csv.Error as error:
            raise TraceError(f"{path}, line {rows.line_num}: {error}") from None
        except (OSError, EOFError, UnicodeDecodeError) as error:
            raise TraceError(f"{path}, after line {rows.line_num}: {error}") from None
    trace = writer.trace()
    if not len(trace):
        raise TraceError(f"{path}: there is no read in it")
    return trace


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == GZIP_MAGIC
        file = (gzip.open if packed else open)(path, "rt", encoding="utf-8", newline="")
    except OSError as error:
        raise TraceError(f"{path}: {error.strerror or error}") from None
    with file:
        yield file


def _check_header(path: Path, found: object) -> None:
    names = list(found) if isinstance(found, (list, tuple)) else []
    missing = [name for name in COLUMNS if name not in names]
    if missing:
        raise TraceError(
            f"{path}: no column {', '.join(missing)}; its first line must be like {','.join(HEADER)}"
        )


def _add(writer: TraceWriter, path: Path, line: int, row: dict[str, str | None]) -> None:
    kind = row.get(KIND) or READ
    if kind == READ:
        writer.add(*_read(path, line, row))
    elif kind == CHANGE:
        where = f"{path}, line {line}"
        if not row["entry"]:
            raise TraceError(f"{where}: it names no entry")
        writer.change(_time(row["time"] or "", where), row["entry"])
    else:
        raise TraceError(f"{path}, line {line}: {KIND} is {kind[:40]!r}; it is {READ} or {CHANGE}")


def _read(path: Path, line: int, row: dict[str, str | None]) -> tuple[float, str, str, float]:
    where = f"{path}, line {line}"
    reader, entry = row["reader"], row["entry"]
    if not entry or reader is None:
        raise TraceError(f"{where}: it names no entry")
    took = row.get(BUILD) or ""
    build_s = _number(took, where, BUILD) / 1000 if took else -1.0
    if took and build_s < 0:
        raise TraceError(f"{where}: {BUILD} is negative")
    return _time(row["time"] or "", where), reader, entry, build_s


def _time(text: str, where: str) -> float:
    try:
        found = float(text)
    except ValueError:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise TraceError(
                f"{where}: {text[:40]!r} is no time: give seconds since 1970, or ISO 8601"
            ) from None
        found = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if not 0 <= found <= LATEST_S:  # also refuses NaN
        raise TraceError(f"{where}: {text[:40]!r} is no time between 1970 and 9999")
    return found


def _number(text: str, where: str, name: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise TraceError(f"{where}: {name} is {text[:40]!r}, which is no number")
    return found


class TraceFile:
    """Writes a trace to a file, packed if its name ends with `.gz`. A file that exists is refused.

    Raises TraceError. It counts what it has written, before packing.
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
            raise TraceError(f"{self._path}: {error.strerror or error}") from None

    def close(self) -> None:
        """Finish the file."""
        try:
            self._file.close()
        except OSError as error:
            raise TraceError(f"{self._path}: {error.strerror or error}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def write_trace(trace: Trace, path: Path) -> None:
    """Write a whole trace; raises TraceError."""
    with TraceFile(path) as file:
        columns = zip(trace.times, trace.readers, trace.entries, trace.build_s, strict=True)
        for time, reader, entry, build_s in columns:
            file.read(time, trace.reader_names[reader], trace.entry_names[entry], build_s)
        for time, name in trace.changes:
            file.change(time, name)
