"""What the lanes of one process share. Only joins them: does nothing by itself."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from jobs.contracts import Contract
from worker.engine.claims import Claims
from worker.engine.dead_letters import DeadLetters
from worker.engine.finisher import Finisher
from worker.engine.observer import Observer

Run = Callable[[str, Contract, int], Coroutine[Any, Any, str]]
"""Carries a contract out: job id, contract, number of the run (from 1) -> outcome."""


@dataclass(frozen=True)
class Parts:
    """One set for each process."""

    redis: Redis
    claims: Claims
    finisher: Finisher
    letters: DeadLetters
    run: Run
    observer: Observer
    contracts: Mapping[str, type[Contract]]
