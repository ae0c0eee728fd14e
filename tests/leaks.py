"""What a test forgets to close is that test's failure.

Python reports an unclosed connection when it collects it, perhaps many tests later, and pytest then fails the
test that happens to run. Here the garbage is collected after each test.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


def pytest_collection_finish() -> None:
    """Leave what was imported and collected out of every later collection, which then takes milliseconds."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _garbage_is_collected(request: pytest.FixtureRequest) -> Iterator[None]:
    """Collect after every other fixture's teardown; pytest reports what this finds as the test's error.

    Tests that use neither an event loop nor servers open nothing.
    """
    yield
    if request.node.get_closest_marker("asyncio") or "place" in request.fixturenames:
        gc.collect()
