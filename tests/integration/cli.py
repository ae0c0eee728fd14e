"""Running commands: inside the test's process where it only matters what they say, else as processes."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from stoker.cli import main

URLS = ("DATABASE_URL", "REDIS_URL", "CACHE_REDIS_URL")
APPLICATION = {
    "STOKER__DOMAIN": "jobs",
    # A busy machine may take longer to answer than a probe waits by default.
    "STOKER__API__PROBE_TIMEOUT_S": "60",
}
LONGEST_S = 180


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    returncode: int
    stdout: str
    stderr: str


def call(
    where: Path, environment: Mapping[str, str], *arguments: str, capture: pytest.CaptureFixture[str]
) -> Done:
    """Run a command in this process, which saves the seconds that importing everything takes."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    with pytest.MonkeyPatch.context() as patched:
        for name in [name for name in os.environ if name in URLS or name.startswith("STOKER_")]:
            patched.delenv(name)
        for name, value in {**APPLICATION, **environment}.items():
            patched.setenv(name, value)
        patched.chdir(where)
        patched.setattr(sys, "argv", ["stoker", *arguments])
        capture.readouterr()
        try:
            with pytest.raises(SystemExit) as left:
                main()
        finally:
            root.handlers[:] = handlers
            root.setLevel(level)
    said = capture.readouterr()
    return Done(int(left.value.code or 0), said.out, said.err)


def spawn(where: Path, environment: Mapping[str, str], *arguments: str) -> Done:
    """Run a command as a process of its own, to its end."""
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", "stoker", *arguments],
        cwd=where,
        env={**APPLICATION, **environment},
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


@contextmanager
def running(
    where: Path, environment: Mapping[str, str], *arguments: str, ready: str
) -> Iterator[subprocess.Popen[str]]:
    """A process that has said that it is ready; what it says next is in `stdout`."""
    process = subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-m", "stoker", *arguments],
        cwd=where,
        env={**APPLICATION, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if ready in line:
                break
        else:
            pytest.fail("".join(said))
        yield process
    finally:
        process.kill()
        process.communicate()
