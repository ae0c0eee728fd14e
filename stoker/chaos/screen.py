"""The screen output of a run without faults: progress, live figures and the report.

Without a terminal it prints plain lines.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from stoker.chaos.tally import Tally, percentile

LIVE_EVERY_S = 0.5
LINE_EVERY_S = 5.0


class Screen:
    """Writes to one console."""

    def __init__(self, views: Sequence[str], console: Console | None = None) -> None:
        self.views = views
        self.console = console or Console(highlight=False)

    def say(self, line: str) -> None:
        """One plain line."""
        self.console.print(line, markup=False, soft_wrap=True)

    @contextmanager
    def progress(self, what: str) -> Iterator[Callable[[int, int], None]]:
        """A bar that `report(done, total)` moves."""
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
        bar = Progress(
            *columns, TimeElapsedColumn(), console=self.console, disable=not self.console.is_terminal
        )
        with bar:
            task = bar.add_task(what)
            yield lambda done, total: bar.update(task, completed=done, total=total)

    @asynccontextmanager
    async def following(self, tally: Tally, seconds: float) -> AsyncIterator[None]:
        """Show the live figures."""
        began = time.monotonic()
        show = self._show_live if self.console.is_terminal else self._show_lines
        shown = asyncio.create_task(show(tally, began, seconds))
        try:
            yield
        finally:
            shown.cancel()
            await asyncio.gather(shown, return_exceptions=True)

    def report(self, found: dict[str, Any]) -> None:
        """The figures at the end, and the verdict."""
        self.console.print(_views_table(found))
        self.console.print(_figures_table(found))
        for line in found["examples"] if found["failures"] else []:
            self.say(f"  {line}")
        if found["saturated"]:
            line = (
                f"the machine was too slow for {found['rate']:g} requests a second: latencies and 5xx include"
                " its queue. Run it again when nothing else runs, or with a lower --rate"
            )
            self.console.print(Text(f"! {line}", style="yellow"), soft_wrap=True)
        for line in found["failures"]:
            self.console.print(Text(f"✗ {line}", style="bold red"), soft_wrap=True)
        if len(found["failures"]) > len(found["wrong"]):
            self.say("  floors are absolute: 30 s at 100 requests/s reach them, a shorter run does not")
        if not found["failures"]:
            self.console.print(Text("✓ nothing is wrong, every floor is met", style="bold green"))

    async def _show_live(self, tally: Tally, began: float, seconds: float) -> None:
        with Live(console=self.console, auto_refresh=False, transient=True) as live:
            while True:
                passed = time.monotonic() - began
                live.update(
                    Group(Text(self._line(tally, passed, seconds)), self._live_table(tally)), refresh=True
                )
                await asyncio.sleep(LIVE_EVERY_S)

    async def _show_lines(self, tally: Tally, began: float, seconds: float) -> None:
        while True:
            await asyncio.sleep(LINE_EVERY_S)
            self.say(self._line(tally, time.monotonic() - began, seconds))

    def _line(self, tally: Tally, passed: float, seconds: float) -> str:
        rate = tally.hit_rate(*self.views)
        hits = [ms for view in self.views for ms in tally.of(view, "hit")]
        return (
            f"{min(passed, seconds):4.0f} of {seconds:.0f} s  reads {tally.reads:,}  writes {tally.writes:,}"
            f"  hits {_share(rate)}  hit p50 {_ms(percentile(hits, 0.5))} p99 {_ms(percentile(hits, 0.99))}"
            f"  stale {tally.stale_reads}"
            f"  forbidden {tally.forbidden_reads_attempted} tried, {tally.forbidden_reads_served} served"
            f"  5xx {tally.server_errors}"
        )

    def _live_table(self, tally: Tally) -> Table:
        table = Table("view", "hits", "hit p50", "hit p99", "SQL p50", "SQL p99")
        for view in self.views:
            hits, sql = tally.of(view, "hit"), tally.of(view, "bypass")
            figures = [percentile(values, share) for values in (hits, sql) for share in (0.5, 0.99)]
            table.add_row(view, _share(tally.hit_rate(view)), *map(_ms, figures))
        return table


def _views_table(found: dict[str, Any]) -> Table:
    table = Table(title="reads, milliseconds from the scheduled start")
    for name in ("view", "hit rate", "hit p50", "hit p99", "SQL p50", "SQL p99"):
        table.add_column(name, justify="left" if name == "view" else "right")
    for view in found["hit_rate"]:
        table.add_row(view, _share(found["hit_rate"][view]), *map(_ms, found["read_ms"][view].values()))
    return table


def _figures_table(found: dict[str, Any]) -> Table:
    table = Table(show_header=False)
    table.add_column()
    table.add_column()
    applied = found["change_to_applied_ms"]
    lanes = ", ".join(
        f"{name} {lane['done']} done {lane['failed']} failed {lane['dead']} dead"
        for name, lane in found["jobs"].items()
    )
    rows = {
        "run": f"{found['seconds']} s at {found['rate']:g} requests/s, times / {found['time_scale']:g}",
        "reads": f"{found['reads']:,}, {found['reads_checked']:,} checked, {found['reads_of_changed']:,}"
        f" of what had changed, {found['not_modified']:,} were 304, {found['stale_reads']} stale",
        "writes": f"{found['writes']:,}, p50 {_ms(found['write_ms']['p50'])} until applied",
        "events": f"{found['events_recorded']:,} recorded, {found['events_applied']:,} applied;"
        f" change to applied p50 {_ms(applied['p50'])}, p99 {_ms(applied['p99'])}",
        "forbidden": f"{found['forbidden_reads_attempted']} tried, {found['forbidden_reads_served']} served",
        "cache against SQL": f"{found['entries_verified']} entries compared, {found['stale_entries']} stale;"
        f" by the worker meanwhile: {found['verifier']['checked']}, {found['verifier']['stale']} stale",
        "jobs": lanes,
        "own jobs": found["own_jobs"],
        "schedule": ", ".join(f"{task} {count} times" for task, count in found["schedule"].items()) or "-",
        "sent late by": f"p50 {_ms(found['late_ms']['p50'])}, p99 {_ms(found['late_ms']['p99'])}",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ms"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"
