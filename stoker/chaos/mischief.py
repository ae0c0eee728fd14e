"""The jobs that are enqueued during a run: some work, most fail."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from stoker.chaos.acts import Act, Newer, Slow, What
from stoker.chaos.driver import Driver
from stoker.chaos.surroundings import JOB

KILLER = "task_kills_its_worker"
MISCHIEF: Mapping[str, tuple[float, str, dict[str, Any]]] = {
    "task": (4, Act.kind, {"what": What.WORK}),
    "task_raises": (1, Act.kind, {"what": What.RAISE}),
    "task_fails": (1, Act.kind, {"what": What.FAIL}),
    "task_hangs": (1, Act.kind, {"what": What.HANG}),
    "task_swallows_cancellation": (1, Act.kind, {"what": What.SWALLOW}),
    KILLER: (0.3, Act.kind, {"what": What.KILL}),
    "task_outlasts_its_claim": (2, Slow.kind, {}),
    "task_of_a_newer_release": (1, Newer.kind, {}),
}
"""Relative frequency, kind, arguments."""
LONG_RUN_S = 60


def chosen(names: Sequence[str] | None, seconds: float) -> list[str]:
    """The kinds of a run; None: all for which there is time."""
    if names is not None:
        return [name for name in MISCHIEF if name in names]
    # A job that kills its worker takes half a minute to be put in quarantine.
    return [name for name in MISCHIEF if name != KILLER or seconds >= LONG_RUN_S]


async def misbehave_on(driver: Driver, rng: Random, per_s: float, names: Sequence[str]) -> None:
    """Enqueue jobs at a mean rate, until cancelled."""
    while names:
        await asyncio.sleep(rng.expovariate(per_s))
        [name] = rng.choices(names, [MISCHIEF[one][0] for one in names])
        # One is enough: it kills three workers, one after the other, before it is in quarantine.
        if name != KILLER or not driver.tally.mischief[KILLER]:
            await ask(driver, name)


async def ask(driver: Driver, name: str) -> str | None:
    """Let a web app enqueue one job; returns its id, if that was acknowledged."""
    _, kind, arguments = MISCHIEF[name]
    answer = await driver.aside(JOB, {"kind": kind, "arguments": arguments})
    if answer is None:
        return None
    driver.tally.mischief[name] += 1
    driver.tally.acknowledged[answer["job_id"]] = time.time()
    return str(answer["job_id"])
