"""What the lanes of one process share. Does nothing by itself."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from stoker.jobs import Job
from stoker.outbox.ends import JobEnds
from stoker.worker.engine.claims import Claims
from stoker.worker.engine.dead_letters import DeadLetters
from stoker.worker.engine.finisher import Finisher
from stoker.worker.engine.observer import Observer

Run = Callable[[str, Job, int], Coroutine[Any, Any, str]]
"""Carries a job out: job id, job, number of the run (from 1) -> outcome."""


@dataclass(frozen=True)
class Parts:
    """One set for each process."""

    redis: Redis
    claims: Claims
    finisher: Finisher
    letters: DeadLetters
    ends: JobEnds
    run: Run
    observer: Observer
    job_types: Mapping[str, type[Job]]
