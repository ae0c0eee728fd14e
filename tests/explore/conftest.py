"""The explorer's server, and its table at the end of a test run."""

from collections.abc import Iterator

import pytest

from tests.explore.report import HEADING, Explored
from tests.explore.valkey import Server

EXPLORED: dict[str, Explored] = {}
"""What this test run has explored, by case."""


@pytest.fixture(scope="module")
def server(cache_url: str) -> Iterator[Server]:
    """The real server behind every case; other modules may restart it."""
    server = Server(cache_url)
    yield server
    server.close()


@pytest.fixture(scope="session")
def explored() -> dict[str, Explored]:
    """The cases that were explored so far."""
    return EXPLORED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print explored, pruned, and whether each case was exhausted."""
    if not EXPLORED:
        return
    terminalreporter.section("interleavings explored")
    terminalreporter.write_line(HEADING)
    for one in EXPLORED.values():
        terminalreporter.write_line(str(one))
    total = sum(one.found.explored for one in EXPLORED.values())
    pruned = sum(one.found.pruned for one in EXPLORED.values())
    terminalreporter.write_line(f"{total} explored, {pruned} pruned because they commute with one of these")
