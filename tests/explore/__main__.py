"""Explore longer than a test run does: `python -m tests.explore --seconds 600 [--case NAME] [--seed N]`.

Prints a row for each case, and the trace of the first run that breaks a promise; then it exits with 1. Time
that a case leaves over goes to those after it. Uses REDIS_URL if it is set, else a Valkey of its own.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stoker import embedded
from tests.explore.cases import BY_NAME, CASES
from tests.explore.report import explore
from tests.explore.summary import HEADING
from tests.explore.valkey import Server


def main() -> int:
    """0 when no promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.explore", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="for all cases together (default 600)")
    parser.add_argument("--case", choices=sorted(BY_NAME), help="only this one")
    parser.add_argument("--seed", type=int, help="choose among orders at random")
    arguments = parser.parse_args()
    cases = [BY_NAME[arguments.case]] if arguments.case else list(CASES)
    until = time.monotonic() + arguments.seconds
    total = 0
    say(HEADING)
    with server() as valkey:
        for at, case in enumerate(cases):
            share = max(0.5, (until - time.monotonic()) / (len(cases) - at))
            explored = explore(case, valkey, seconds=share, seed=arguments.seed)
            say(str(explored))
            total += explored.found.explored
            if explored.found.violation is not None:
                return 1
    say(f"{total} interleavings explored, no promise broken")
    return 0


@contextmanager
def server() -> Iterator[Server]:
    """A Valkey to explore on."""
    given = os.environ.get("CACHE_REDIS_URL") or os.environ.get("REDIS_URL")
    with tempfile.TemporaryDirectory() as folder:
        if given:
            valkey = Server(given)
            yield valkey
            valkey.close()
            return
        with embedded.start(Path(folder), durable=False) as running:
            valkey = Server(running.urls.cache)
            yield valkey
            valkey.close()


def say(line: str) -> None:
    """Print at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
