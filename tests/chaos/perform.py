"""Runs chaos with options that the command line does not offer: `python -m tests.chaos.perform <json>`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from stoker.chaos import ChaosOptions, run


def main(given: dict[str, Any]) -> int:
    """The exit code."""
    for name in ("json", "data_dir"):
        given[name] = Path(given[name])
    for name in ("faults", "mischief"):
        given[name] = tuple(given[name])
    launcher = given.pop("launcher")
    return run(ChaosOptions(**given, process_command=(sys.executable, "-m", launcher)))


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
