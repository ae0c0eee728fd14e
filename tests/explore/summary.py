"""The explorer's table at the end of a test run: explored, pruned, and whether each case was exhausted.

Rows come from every process of the run; the one that talks to the terminal prints them.
"""

from __future__ import annotations

from typing import Any

import pytest

HEADING = f"{'case':55} {'explored':>8} {'pruned':>8} {'longest':>7}  exhausted  seconds"
ROWS: list[tuple[str, int, int]] = []
"""A line, and how many orders were explored and pruned."""


def add(row: str, explored: int, pruned: int) -> None:
    """A case that this process has explored."""
    ROWS.append((row, explored, pruned))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand the rows over, where another process talks to the terminal."""
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["explored"] = ROWS


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:  # noqa: ANN401 - of xdist
    """Take the rows of a process that has ended; one that crashed has none."""
    ROWS.extend(tuple(row) for row in getattr(node, "workeroutput", {}).get("explored", ()))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the rows."""
    if not ROWS:
        return
    terminalreporter.section("interleavings explored")
    terminalreporter.write_line(HEADING)
    for line, _, _ in sorted(ROWS):
        terminalreporter.write_line(line)
    explored, pruned = sum(row[1] for row in ROWS), sum(row[2] for row in ROWS)
    terminalreporter.write_line(
        f"{explored} explored, {pruned} pruned because they commute with one of these"
    )
