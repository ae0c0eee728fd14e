"""The base of all jobs: typed arguments that outlive deploys, and what a class of them may declare.

A job's `kind` is stored in Redis: never rename one, add the next version. Jobs carry only ids and
names, never rows. Idea: River's separation of arguments and worker by a stable kind string.
"""

from __future__ import annotations

import math
import re
from datetime import timedelta
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from stoker.errors import DeclarationError
from stoker.jobs.retry import RetryPolicy, is_span

LOWEST_RATE = 1 / 86_400
"""Jobs in a second: one a day."""
KIND = re.compile(r"[!-~]{1,64}")
"""The form of a kind, which becomes part of rows, log lines and metrics."""


class Job(BaseModel):
    """The arguments of one job: ids and names, never rows. Frozen; unknown fields are refused.

    `kind` is stored in Redis: 1 to 64 visible ASCII characters, never renamed. `lane` is a lane that the
    domain declares, or its name. `timeout` ends a run. `keep_result`: how long what the handler returns can
    be fetched with `Stoker.result`; None keeps nothing. A class that cannot be a job raises DeclarationError.
    """

    # The values of fields stay out of logs: errors name the field alone.
    # NaN is kept until it is refused: by default it would become null.
    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, ser_json_inf_nan="constants"
    )

    kind: ClassVar[str]
    lane: ClassVar[str]
    timeout: ClassVar[timedelta] = timedelta(seconds=60)
    retry: ClassVar[RetryPolicy] = RetryPolicy()
    keep_result: ClassVar[timedelta | None] = None
    rate_per_s: ClassVar[float] = 0
    """How many of its kind all workers together begin in a second; 0: no limit. The lane's other kinds do not
    wait for them."""
    one_at_a_time: ClassVar[bool] = False
    """A second job of a coalesce key waits until the first has ended. Not for relays: two of them claim
    different events, and a change must not wait for a relay that hangs."""
    followed: ClassVar[bool] = False
    """Its progress may be asked for, so the end of a job is written to it."""
    repeated: ClassVar[bool] = False
    """The next slot, sweep or read does its work too. When an outage has used up its tries, it is dropped
    without a dead letter."""

    def coalesce_key(self) -> str | None:
        """Jobs of one key coalesce: at most one waits. None: every job runs."""
        return None

    def fair_key(self) -> str | None:
        """Jobs of different keys of a lane take turns: 1 to 100 characters, such as a tenant's id.

        None: the job waits in the order in which jobs are due, as if it had a key of its own.
        """
        return None

    @classmethod
    def __pydantic_init_subclass__(cls, **_: object) -> None:
        """Refuse a class whose jobs could never run; one without a kind may be the base of others."""
        if (mistake := _mistake(cls)) is not None:
            raise DeclarationError(f"job {cls.__name__}: {mistake}")
        if cls.keep_result is not None:
            cls.followed = True


def _mistake(job: type[Job]) -> str | None:
    """What is wrong with a class of jobs, in a sentence that says what to do."""
    for name in ("kind", "lane", "timeout", "retry", "keep_result", "rate_per_s"):
        if name in job.model_fields:
            return f"`{name}` must not be a field: write it without a type, or with ClassVar"
    if not hasattr(job, "kind"):
        return None
    kept = job.keep_result
    checks = (
        (_is_kind(job.kind), f"`kind` must be 1 to 64 visible ASCII characters, not {job.kind!r:.80}"),
        (isinstance(getattr(job, "lane", None), str), '`lane` must name a lane of the domain: lane = "mail"'),
        (is_span(job.timeout), f"`timeout` must be a positive timedelta, not {job.timeout!r:.60}"),
        (isinstance(job.retry, RetryPolicy), f"`retry` must be a RetryPolicy, not {job.retry!r:.60}"),
        (
            kept is None or is_span(kept),
            f"`keep_result` must be None or a positive timedelta, not {kept!r:.60}",
        ),
        (
            _is_rate(job.rate_per_s),
            f"`rate_per_s` must be 0 or from {LOWEST_RATE:.6f}, one a day, not {job.rate_per_s!r:.60}",
        ),
        (
            not job.rate_per_s or job.fair_key is Job.fair_key,
            "`rate_per_s` excludes fair_key(): give the kind a lane of its own, and that lane the rate",
        ),
        (
            not job.one_at_a_time or job.coalesce_key is not Job.coalesce_key,
            "`one_at_a_time` needs a coalesce_key(): it holds for jobs of one key",
        ),
    )
    return next((said for right, said in checks if not right), None)


def _is_rate(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return value == 0 or LOWEST_RATE <= value < math.inf


def _is_kind(value: object) -> bool:
    return isinstance(value, str) and KIND.fullmatch(value) is not None
