"""The options of a demonstration."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class DemoOptions:
    """One run. The defaults are those of `make demo`.

    `rate` is requests per second, below what two cores sustain with everything on one machine. `time_scale`
    divides TTLs and schedule: at 30 a dashboard lives 10 s instead of 300 and keep-warm runs every 2 s.
    The commands start the processes; tests replace them.
    """

    seconds: float = 30
    json: Path | None = None
    users: int = 200
    rate: float = 100
    seed: int = 1
    keep: bool = False
    """Leave folder, logs and database behind."""
    data_dir: Path = Path(".data")
    """Under it a fresh folder is made for this run."""
    time_scale: float = 30
    webapp_command: tuple[str, ...] = (sys.executable, "-m", "uvicorn", "worker.demo.webapp:app")
    worker_command: tuple[str, ...] = (sys.executable, "-m", "stoker", "run")
