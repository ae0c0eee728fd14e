"""Rights that are taken away for good, and readers who try all the same: nobody of them may see a byte.

A right counts as taken away from the moment at which whoever took it was told so; one whose answer was lost
counts for nothing.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence
from dataclasses import asdict
from random import Random
from typing import Any

from stoker.chaos.link import NoAnswer
from stoker.chaos.slots import Slot
from stoker.chaos.tally import Tally
from stoker.chaos.workload import Probe

TRY_S = 0.1
"""Mean pause of a reader who has lost a right."""
PAST_THE_CACHE = 0.2
AT_REST = 200
"""Attempts at rest, at most."""


class Revocations:
    """All rights that were taken away in one run."""

    def __init__(self, webapps: Sequence[Slot], events: dict[int, float], tally: Tally, rng: Random) -> None:
        self._webapps = webapps
        self._events = events
        self._tally = tally
        self._rng = rng
        self._numbers = itertools.count()
        self._refused: list[Probe] = []

    async def revoke_on(self, per_s: float) -> None:
        """Take rights away at a mean rate, until cancelled, or at once if the workload knows none."""
        while True:
            await asyncio.sleep(self._rng.expovariate(per_s))
            began = time.time()
            answer = await self._ask("revoke", number=next(self._numbers))
            if answer is None or "error" in answer:
                continue
            if answer["event"] is None:
                return
            self._events[answer["event"]] = began
            self._tally.revocations += 1
            self._refused += [Probe(**probe) for probe in answer["refused"]]

    async def try_on(self) -> None:
        """Try to read what was taken away, until cancelled."""
        while True:
            await asyncio.sleep(self._rng.expovariate(1 / TRY_S))
            if self._refused:
                await self.attempt(self._rng.choice(self._refused))

    async def attempt(self, probe: Probe) -> None:
        """One read that must be refused."""
        bypass = self._rng.random() < PAST_THE_CACHE
        answer = await self._ask("read", probe=asdict(probe), bypass=bypass)
        if answer is None:
            return
        if "error" not in answer:
            self._tally.note("forbidden read", f"{probe} was shown to {probe.reader} ({answer['state']})")
        elif answer["error"] == "forbidden":
            self._tally.refused += 1
        elif answer["error"] == "bug":
            self._tally.note("unexpected error", f"{probe}: {answer['message']}")

    async def at_rest(self) -> None:
        """Try once more what was taken away last."""
        for probe in self._refused[-AT_REST:]:
            await self.attempt(probe)

    async def _ask(self, do: str, **arguments: Any) -> dict[str, Any] | None:  # noqa: ANN401 - JSON
        try:
            return await self._rng.choice(self._webapps).link.ask(do, **arguments)
        except NoAnswer:
            return None
