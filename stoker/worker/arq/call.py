"""A claimed job of arq's queue: its payload read, or the reason why it cannot be."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from arq.cron import CronJob
from arq.utils import ms_to_datetime
from arq.worker import Function

from stoker.arq.application import ArqApplication
from stoker.worker.engine.cause import fingerprint
from stoker.worker.engine.claims import Claim
from stoker.worker.engine.letter import UNKNOWN, Letter


@dataclass
class Call:
    """What a claim asks for. One that could not be read has no function and no arguments."""

    claim: Claim
    name: str = UNKNOWN
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] | None = None
    attempt: int = 1
    enqueued_ms: int = 0
    function: Function | CronJob | None = None
    """None: this release does not have it."""
    result: Any = None

    @property
    def job_id(self) -> str:
        """The job's id."""
        return self.claim.job_id

    @property
    def is_cron(self) -> bool:
        """Whether it is a cron job's."""
        return isinstance(self.function, CronJob)

    @property
    def ref(self) -> str:
        """How arq's log lines name it."""
        return self.name if self.is_cron else f"{self.job_id}:{self.name}"

    def context(self, shared: dict[Any, Any]) -> dict[Any, Any]:
        """The `ctx` of the run."""
        own = {
            "job_id": self.job_id,
            "job_try": self.attempt,
            "enqueue_time": ms_to_datetime(self.enqueued_ms),
            "score": round(self.claim.due_ms),
        }
        return {**shared, **own}

    def letter(self, lane: str, reason: str, error: BaseException) -> Letter:
        """Its dead letter. Arguments that are no JSON are kept as the bytes that they came in."""
        payload: Any = {"args": self.args, "kwargs": self.kwargs}
        try:
            json.dumps(payload, allow_nan=False)
        except (ValueError, TypeError, RecursionError):
            payload = None
        raw = self.claim.payload if payload is None or self.kwargs is None else None
        letter = Letter(
            job_id=self.job_id,
            lane=lane,
            reason=reason,
            attempts=self.attempt,
            error="",
            fingerprint=fingerprint(self.name, reason),
            kind=self.name,
            payload=None if raw is not None else payload,
            raw=raw,
            enqueued_ms=self.enqueued_ms,
        )
        return letter.caused_by(error)


def read(claim: Claim, application: ArqApplication) -> Call:
    """The call of a payload; raises InvalidJob."""
    name, args, kwargs, first_try, enqueued_ms = application.read(claim.payload or b"")
    attempt = max(claim.failed_runs + 1, first_try)
    return Call(claim, name, tuple(args), kwargs, attempt, enqueued_ms, application.functions.get(name))
