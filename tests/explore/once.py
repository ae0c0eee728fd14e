"""Each case explored once in a test run, by whichever of its processes comes first; others wait for it."""

from __future__ import annotations

import fcntl
import pickle
from pathlib import Path

from tests.explore import summary
from tests.explore.ground import Case
from tests.explore.report import Explored, explore
from tests.explore.valkey import Server


class Once:
    """What was explored, in a folder that all processes of the test run share."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder

    def explored(self, case: Case, server: Server) -> Explored:
        """What exploring the case came to."""
        name = case.name.replace(" ", "-")
        kept = self._folder / f"{name}.pickle"
        with (self._folder / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not kept.exists():
                one = explore(case, server, at_most=case.at_most)
                summary.add(str(one), one.found.explored, one.found.pruned)
                kept.write_bytes(pickle.dumps(one))
            found: Explored = pickle.loads(kept.read_bytes())  # noqa: S301 - written by ourselves
            return found
