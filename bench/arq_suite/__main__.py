"""Download arq's tests, run them against Stoker's engine, and print which pass: `make arq-suite`.

Exits with 1 where fewer pass than docs/arq.md promises, or where a test fails that reasons.py does not name.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.arq_suite.reasons import BY_CHANCE, REASONS

ROOT = Path(__file__).parents[2]
PLACE = ROOT / "build" / "arq-suite"
WANTED = 69
"""Of the tests that drive a Worker."""
PACKAGES = ("msgpack", "dirty-equals", "pytest-mock", "watchfiles")
"""What arq's tests import and this repository does not."""
LONGEST_S = 900
TRIES = 3
"""Runs of a test that fails."""
SETTINGS = "[pytest]\nasyncio_mode = auto\nfilterwarnings = ignore::DeprecationWarning\n"


def main() -> int:
    """Run it all; returns the exit code."""
    folder = _downloaded()
    found = _ran(folder, "tests")
    for _ in range(TRIES - 1):
        # Many tests wait for fractions of a second, which a busy machine does not keep.
        failed = [name for name, one in found.items() if one["outcome"] == "failed" and name not in REASONS]
        found |= _ran(folder, *(f"tests/{name}" for name in failed)) if failed else {}
    return _report(found)


def _downloaded() -> Path:
    """The sdist of the arq that is installed, unpacked; arq itself stays the installed one."""
    shutil.rmtree(PLACE, ignore_errors=True)
    PLACE.mkdir(parents=True)
    release = f"arq=={version('arq')}"
    _pip("download", "--no-deps", "--no-binary", "arq", "--dest", str(PLACE), release)
    _pip("install", "--no-deps", "--target", str(PLACE / "packages"), *PACKAGES)
    (archive,) = PLACE.glob("arq-*.tar.gz")
    with tarfile.open(archive) as opened:
        opened.extractall(PLACE, filter="data")
    folder = PLACE / archive.name.removesuffix(".tar.gz")
    shutil.rmtree(folder / "arq")
    (PLACE / "pytest.ini").write_text(SETTINGS)
    return folder


def _pip(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "pip", "--quiet", *arguments], check=True)  # noqa: S603 - our own


def _ran(folder: Path, *tests: str) -> dict[str, dict[str, Any]]:
    """Each test's outcome, by its name."""
    told = PLACE / "found.json"
    told.unlink(missing_ok=True)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(PLACE / "packages")]),
        "ARQ_SUITE_FOUND": str(told),
    }
    given = ("-c", "../pytest.ini", "--rootdir", ".", "-q", "--timeout", "60", *tests)
    command = [sys.executable, "-m", "bench.arq_suite.launch", str(ROOT), *given]
    with (PLACE / "log.txt").open("a") as log:
        subprocess.run(  # noqa: S603 - our own program
            command, cwd=folder, env=environment, stdout=log, stderr=log, timeout=LONGEST_S, check=False
        )
    if not told.exists():
        raise SystemExit(f"the tests did not run: {PLACE / 'log.txt'} says why")
    found: dict[str, dict[str, Any]] = json.loads(told.read_text())
    return {name.removeprefix("tests/"): one for name, one in found.items()}


def _report(found: dict[str, dict[str, Any]]) -> int:
    console = Console(width=None if sys.stdout.isatty() else 132, markup=False)
    left = {name: one for name, one in found.items() if one["outcome"] != "passed"}
    why = {
        name: {**REASONS, **BY_CHANCE}.get(name, f"NOT EXPLAINED: {one['error']}")
        for name, one in left.items()
    }
    table = Table("tests of arq that do not pass", "why")
    for reason in dict.fromkeys(why.values()):
        names = [Text(name) for name, said in why.items() if said == reason]
        table.add_row(Text("\n").join(names), Text(reason), end_section=True)
    console.print(table)
    for what, drives in (("that drive a Worker", True), ("that do not", False)):
        some = [one["outcome"] for one in found.values() if one["drives"] is drives]
        console.print(f"tests {what}: {some.count('passed')} of {len(some)} pass")
    enough = sum(one["drives"] and one["outcome"] == "passed" for one in found.values()) >= WANTED
    stale = sorted(REASONS.keys() - left.keys())
    if stale:
        console.print(f"reasons.py names tests that pass or are gone: {', '.join(stale)}")
    return int(not enough or bool(stale) or any(said.startswith("NOT EXPLAINED") for said in why.values()))


if __name__ == "__main__":
    sys.exit(main())
