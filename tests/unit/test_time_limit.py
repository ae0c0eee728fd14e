"""A test that hangs is a failure with a name, and shows where its threads and tasks stood."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
IN_A_TASK = """
import asyncio
async def nap():
    await asyncio.Event().wait()
async def doze():
    await nap()
async def test_hangs():
    kept = asyncio.create_task(doze())  # else the garbage collector may take it
    await asyncio.Event().wait()
def test_next():
    pass
"""
IN_A_THREAD = """
import threading
def doze():
    threading.Event().wait()
def test_hangs():
    threading.Thread(target=doze, daemon=True).start()
    threading.Event().wait()
def test_next():
    pass
"""
IN_A_FIXTURE = """
import asyncio, pytest
@pytest.fixture
async def sleepy():
    yield
    await doze()
async def nap():
    await asyncio.Event().wait()
async def doze():
    await nap()
async def test_hangs(sleepy):
    pass
def test_next():
    pass
"""


@pytest.mark.parametrize(
    ("test", "told"),
    [
        (IN_A_TASK, "1 failed, 1 passed"),
        (IN_A_THREAD, "1 failed, 1 passed"),
        (IN_A_FIXTURE, "2 passed, 1 error"),
    ],
)
@pytest.mark.parametrize("processes", ["0", "1"])
def test_a_test_that_hangs_fails_under_its_name_and_shows_where(
    tmp_path: Path, test: str, told: str, processes: str
) -> None:
    written = tmp_path / "test_hanging.py"
    written.write_text(test)
    ran = subprocess.run(  # noqa: S603 - this interpreter
        [
            *(sys.executable, "-m", "pytest", "-p", "tests.time_limit", "-o", "timeout=2"),
            *("-p", "no:cacheprovider", "-q", "-n", processes, "-c", ROOT / "pyproject.toml", written),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "::test_hangs took over 2 s" in ran.stdout
    assert "in doze" in ran.stdout
    assert told in ran.stdout.splitlines()[-1], "the test after it ran"
