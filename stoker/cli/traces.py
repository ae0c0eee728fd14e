"""`stoker trace`: record reads of a running installation, show a trace, make one up."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from pydantic import BaseModel

from stoker.cli.display import note, show, show_json, table
from stoker.cli.opened import On, operator
from stoker.cli.servers import Json
from stoker.cli.signals import stopped_by_signals
from stoker.errors import CacheUnavailable
from stoker.prediction.replay import view_of
from stoker.prediction.synthetic import Office, made_up
from stoker.prediction.trace import TraceFile, read_trace, write_trace
from stoker.warming.recording import Recording

POLL_S = 1.0
BAR = 40
"""Width of the longest bar."""
TOP = 10

app = typer.Typer(
    help="Traces of reads, for `stoker warm evaluate`: record, show, or make one up.", no_args_is_help=True
)
File = Annotated[Path, typer.Argument(metavar="FILE", help="CSV; packed if it ends with .gz.")]


class Recorded(BaseModel):
    """What was recorded."""

    file: str
    reads: int
    changes: int
    seconds: float
    ended_by: str


class Generated(BaseModel):
    """What was made up."""

    file: str
    reads: int
    changes: int
    days: int


class TraceFigures(BaseModel):
    """What is in a trace."""

    reads: int
    changes: int
    entries: int
    readers: int
    begin: datetime
    end: datetime
    by_view: dict[str, int]
    by_hour: dict[int, int]
    """UTC."""
    most_read: dict[str, int]


def _say_recorded(found: Recorded) -> None:
    show(
        f"{found.file}: {found.reads:,} reads and {found.changes:,} changes in {found.seconds:.0f} s; "
        f"ended by {found.ended_by}"
    )


@app.command("record")
@operator(_say_recorded)
async def record(
    on: On,
    file: File,
    minutes: Annotated[
        float | None, typer.Option("--minutes", min=0, help="How long; without it until Ctrl-C.")
    ] = None,
    sample: Annotated[
        float, typer.Option(min=0.001, max=1, help="Share of the readers whose reads are recorded.")
    ] = 1.0,
    most_mb: Annotated[float, typer.Option(min=0.001, help="It ends at this size, before packing.")] = 500,
) -> Recorded:
    """Record who reads what, and what changes, until Ctrl-C. No content: ids and readers are digests.

    Their key is drawn for each recording and kept nowhere.

    Example: stoker trace record week.csv.gz --minutes 10080 --sample 0.2
    """
    return await recorded(on, file, minutes, sample, most_mb)


@app.command("show")
def show_trace(file: File, *, as_json: Json = False) -> None:
    """Show what is in a trace: reads by view and by hour, and the entries that are read most."""
    trace = read_trace(file)
    views, entries = Counter[str](), Counter[str]()
    hours = Counter[int]()
    for at, entry in zip(trace.times, trace.entries, strict=True):
        name = trace.entry_names[entry]
        views[view_of(name)] += 1
        entries[name] += 1
        hours[int(at // 3600) % 24] += 1
    found = TraceFigures(
        reads=len(trace),
        changes=len(trace.changes),
        entries=len(trace.entry_names),
        readers=len(trace.reader_names),
        begin=datetime.fromtimestamp(trace.times[0], UTC),
        end=datetime.fromtimestamp(trace.times[-1], UTC),
        by_view=dict(views.most_common()),
        by_hour={hour: hours[hour] for hour in range(24)},
        most_read=dict(entries.most_common(TOP)),
    )
    if as_json:
        show_json(found)
    else:
        _draw(found)


@app.command("generate")
def generate(
    file: File,
    people: Annotated[int, typer.Option(min=1, max=100_000, help="Who reads.")] = 100,
    topics: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="What they read, beside pages of their own.")
    ] = 300,
    days: Annotated[int, typer.Option(min=1, max=3650, help="From a Monday on.")] = 28,
    seed: Annotated[int, typer.Option(help="The same seed gives the same trace.")] = 0,
    *,
    as_json: Json = False,
) -> None:
    """Make up the trace of an office: working hours, weeks, topics that come and go, bursts, drift.

    Example: stoker trace generate office.csv.gz --days 60
    """
    trace = made_up(Office(people, topics, days), seed)
    write_trace(trace, file)
    made = Generated(file=str(file), reads=len(trace), changes=len(trace.changes), days=days)
    if as_json:
        show_json(made)
    else:
        show(f"{file}: {made.reads:,} reads and {made.changes:,} changes of {days} days")


def _draw(found: TraceFigures) -> None:
    show(
        f"{found.reads:,} reads of {found.entries:,} entries by {found.readers:,} readers, "
        f"{found.changes:,} changes"
    )
    show(f"from {found.begin:%Y-%m-%d %H:%M} to {found.end:%Y-%m-%d %H:%M} UTC")
    longest = max(found.by_hour.values()) or 1
    hours = [(f"{hour:02}", n, "#" * round(BAR * n / longest)) for hour, n in found.by_hour.items()]
    table("by hour, UTC", ["hour", "reads", ""], hours)
    table("by view", ["view", "reads"], list(found.by_view.items()))
    table("most read", ["entry", "reads"], list(found.most_read.items()))


async def recorded(
    on: On, file: Path, minutes: float | None = None, sample: float = 1.0, most_mb: float = 500
) -> Recorded:
    """Record until the time or the size is reached, or a signal comes."""
    began = time.monotonic()
    ended_by, away = "", False
    with TraceFile(file) as written, stopped_by_signals() as stop:
        recording = Recording(on.stoker, written, sample)
        while not ended_by:
            try:
                await recording.poll()
                away = False
            except CacheUnavailable as error:
                if not away:
                    note(f"waiting for the cache: {error}")
                away = True
            if stop.asked.is_set():
                ended_by = "a signal"
            elif written.bytes >= most_mb * 1e6:
                ended_by = "its size"
            elif minutes is not None and time.monotonic() - began >= minutes * 60:
                ended_by = "its time"
            else:
                with suppress(TimeoutError):
                    async with asyncio.timeout(POLL_S):
                        await stop.asked.wait()
    return Recorded(
        file=str(file),
        reads=written.reads,
        changes=written.changes,
        seconds=round(time.monotonic() - began, 1),
        ended_by=ended_by,
    )
