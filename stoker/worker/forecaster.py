"""The loop of a worker that predicts what will be read, and warms it where that has proved better.

One worker at a time does it: it holds a lease in Postgres, where it also keeps what it has learnt, so that
another goes on from there. While a server is away nothing is planned; after five minutes without a plan the
default plan warms again by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Collection, Sequence
from datetime import timedelta

from stoker.cache.view import EntryKey
from stoker.errors import DatabaseUnavailable, QueueUnavailable, Unavailable
from stoker.handlers.builds import build, with_guard
from stoker.jobs import Lane, Outcome
from stoker.prediction.budget import Candidate
from stoker.stoker import Stoker
from stoker.warming.forecast import Forecast
from stoker.warming.rows import Rows, state_of

log = logging.getLogger(__name__)

STEP = timedelta(minutes=1)
SAVE_EVERY_S = 300.0
"""Seconds between two writes of what was learnt. A worker that is killed loses so much: its successor fetches
those reads from the cache again."""
LONGEST_S = 0.5
"""Seconds of loading above twice of what was expected, at which it leaves the rest."""
AT_ONCE = 20
"""Entries built together: between two of these groups it looks at the time that warming has taken."""


class Forecaster:
    """Prediction in one worker process."""

    def __init__(self, stoker: Stoker, worker: str, lanes: Collection[str] = (Lane.WARM,)) -> None:
        """Make the part of a worker that runs the jobs of these lanes."""
        self._stoker = stoker
        self._rows = Rows(stoker.engine, worker)
        has_budget = stoker.settings.schedule.warm_budget_s > 0
        self._predicts = Lane.WARM in lanes and has_budget and bool(stoker.domain.views)
        self._stop = asyncio.Event()
        self._forecast: Forecast | None = None
        self._saved_s = 0.0
        self._away: str | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Predict until told to stop; then keep what was learnt and give the lease back."""
        if not self._predicts:
            return
        self._stop = stop
        while not stop.is_set():
            begun = asyncio.get_running_loop().time()
            await self.once()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(begun + STEP.total_seconds()):
                    await stop.wait()
        await self._leave()

    async def once(self, every: timedelta = STEP) -> None:
        """One step, if this worker has the lease; `every`: the time until the next one."""
        try:
            await self._once(every)
        except Unavailable as error:
            if self._away is None:
                log.warning("prediction.waits", extra={"error": str(error)})
            self._away = str(error)
        else:
            self._away = None

    async def _once(self, every: timedelta) -> None:
        held = await self._rows.hold()
        if held is None:
            self._forecast = None
            return
        if self._forecast is None or not held:
            self._forecast = Forecast(self._stoker, await state_of(self._stoker.engine))
            self._saved_s = time.monotonic()
        chosen = await self._forecast.step(every)
        self._forecast.held_back = await self._held_back()
        if chosen:
            await self._warm(self._forecast, chosen)
        await self._rows.planned(self._forecast.figures())
        if time.monotonic() - self._saved_s >= SAVE_EVERY_S:
            await self._save(self._forecast)

    async def _warm(self, forecast: Forecast, chosen: Sequence[Candidate]) -> None:
        """Build what was chosen, until that takes much longer than was expected."""
        most_s = LONGEST_S + 2 * sum(one.cost_s for one in chosen)
        built: list[Candidate] = []
        took_s = 0.0
        if forecast.held_back is None:
            for at in range(0, len(chosen), AT_ONCE):
                some = chosen[at : at + AT_ONCE]
                began = time.perf_counter()
                built += await self._built(forecast, some)
                took_s += time.perf_counter() - began
                if took_s > most_s or self._stop.is_set():
                    log.info("prediction.loading_is_slow", extra={"took_s": round(took_s, 3)})
                    break
        done = set(built)
        forecast.built(built, [one for one in chosen if one not in done], took_s if built else 0.0)

    async def _built(self, forecast: Forecast, some: Sequence[Candidate]) -> list[Candidate]:
        keys = {one: forecast.entries.key(one.entry) for one in some}
        wanted: dict[EntryKey, None] = {}
        for key in keys.values():
            if key is not None:
                wanted |= dict.fromkeys(with_guard(self._stoker.domain, key))
        outcomes = await build(self._stoker.cache.filler, list(wanted))
        return [one for one, key in keys.items() if key and outcomes[key] is Outcome.STORED]

    async def _held_back(self) -> str | None:
        """Why operators do not let it warm: the switch of background warming, or the pause of the lane."""
        if not self._stoker.settings.schedule.enable_background_warming:
            return "background warming is switched off"
        try:
            paused = await self._stoker.queue.is_paused(Lane.WARM)
        except QueueUnavailable:
            # The next readers build their entries themselves.
            return "the queue does not answer: whether the lane warm is paused is not known"
        return "the lane warm is paused" if paused else None

    async def _save(self, forecast: Forecast) -> None:
        await self._rows.save(await asyncio.to_thread(forecast.dumped))
        self._saved_s = time.monotonic()
        await self._rows.note_hour(forecast.figures(), forecast.weights())

    async def _leave(self) -> None:
        with contextlib.suppress(DatabaseUnavailable):  # the lease ends by itself
            if self._forecast is not None:
                await self._save(self._forecast)
            await self._rows.leave()
