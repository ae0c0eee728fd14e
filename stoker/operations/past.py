"""A view's reads over time, with what happened meanwhile, and since when they are slow.

Raises UnknownView or DatabaseUnavailable.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from pydantic import BaseModel

from stoker.history.charts import Charts, Length, charts
from stoker.stoker import Stoker


class ReadsThen(BaseModel):
    """One step. Rates are per minute; what is None was not sampled, or had no reads."""

    at: datetime
    p50_s: float | None
    p99_s: float | None
    reads_per_minute: float | None
    hit_rate: float | None
    errors_per_minute: float | None
    happened: list[str]


class ReadsOverTime(BaseModel):
    """The steps that have reads, or in which something happened; the earliest first.

    `slow_since`: from when on every p99 is above `slow_from_s`; None if the latest one is not.
    """

    view: str
    length: Length
    step_s: float
    slow_from_s: float
    slow_since: datetime | None
    steps: list[ReadsThen]


async def reads_over_time(stoker: Stoker, view: str, length: Length) -> ReadsOverTime:
    """How long reads of a view took over a length of time."""
    name = stoker.domain.view(view).name
    found = await charts(stoker.engine, length)
    steps = list(_steps(found, name))
    limit = stoker.settings.watch.slow_from_s(name)
    return ReadsOverTime(
        view=name,
        length=length,
        step_s=found.step_s,
        slow_from_s=limit,
        slow_since=_slow_since(steps, limit),
        steps=[step for step in steps if step.reads_per_minute or step.happened],
    )


def _steps(found: Charts, view: str) -> Iterator[ReadsThen]:
    drawn = found.views.get(view)
    for place, begun in enumerate(found.at):
        ended = begun + found.step_s
        missing = [gap.why for gap in found.gaps if gap.begun < ended and gap.ended > begun]
        yield ReadsThen(
            at=datetime.fromtimestamp(begun, UTC),
            p50_s=drawn and drawn.read_p50_s[place],
            p99_s=drawn and drawn.read_p99_s[place],
            reads_per_minute=drawn and drawn.reads_per_minute[place],
            hit_rate=drawn and drawn.hit_rate[place],
            errors_per_minute=drawn and drawn.errors_per_minute[place],
            happened=[*missing, *(mark.says for mark in found.marks if begun <= mark.at < ended)],
        )


def _slow_since(steps: list[ReadsThen], limit_s: float) -> datetime | None:
    since = None
    for step in reversed(steps):
        if step.p99_s is None:
            continue  # nobody read
        if step.p99_s <= limit_s:
            break
        since = step.at
    return since
