"""What the lanes of one process share. Does nothing by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from redis.asyncio import Redis

from stoker.jobs import Job
from stoker.outbox.ends import JobEnds
from stoker.worker.engine.claims import Claims
from stoker.worker.engine.dead_letters import DeadLetters
from stoker.worker.engine.finisher import Finisher
from stoker.worker.engine.observer import Observer
from stoker.worker.engine.running import Running
from stoker.worker.engine.verdict import Verdict

Run = Callable[[str, Job, int], Coroutine[Any, Any, str]]
"""Carries a job out: job id, job, number of the run (from 1) -> outcome."""


Tasks = dict[str, asyncio.Task[Any]]
"""The runs under way of one lane, by job id."""


class Judge(Protocol):
    """Runs claimed jobs and decides how they end."""

    @property
    def kinds(self) -> Sequence[str]:
        """The kinds that it can run."""

    async def judge(self, running: Running) -> Verdict | None:
        """Run a job and decide what happens to it; None: the claim was lost and another worker decides."""


@dataclass(frozen=True)
class Guest:
    """A lane whose jobs others write, in their own format and without a ring."""

    judge: Callable[[Parts, Tasks], Judge]
    poll_s: float
    """Seconds after which the lane asks for work although no bell rang."""
    most: int | None = None
    """Jobs that the process begins in all; None: any number."""


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
    guests: Mapping[str, Guest] = field(default_factory=dict)
    """By lane."""
