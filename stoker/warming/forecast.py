"""One step of prediction: fetch reads and changes, learn from them, and choose what to warm.

The computing is done in a thread, so that a worker's event loop goes on; nobody else uses the model then.
Raises CacheUnavailable or DatabaseUnavailable; what was fetched by then is learnt, and the rest comes with
the next step.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from zoneinfo import ZoneInfo

from stoker.cache.view import Scope
from stoker.cache.visits import Change, Position, Visit, changes_since, visits_since
from stoker.prediction.budget import Candidate
from stoker.prediction.features import NAMES, SIZES, first_bins
from stoker.prediction.live import Live
from stoker.prediction.snapshot import dump, load
from stoker.rules import EVERY_SCOPE
from stoker.stoker import Stoker
from stoker.warming.entries import Entries
from stoker.warming.figures import PredictionFigures, figures_of

PLAN_READ_S = 600.0
"""Seconds between two questions to the warm plan, which costs SQL."""


def fresh(stoker: Stoker, entries: Entries) -> Live:
    """A model that has learnt nothing."""
    settings = stoker.settings
    rate = settings.schedule.warm_rate(settings.loaders.connections)
    zone = ZoneInfo(settings.schedule.timezone)
    return Live(entries.kind, rate, zone, least=settings.schedule.warm_least)


class Forecast:
    """The model of one installation, as the worker that holds the lease has it."""

    def __init__(self, stoker: Stoker, state: bytes | None = None) -> None:
        self._stoker = stoker
        self.entries = Entries(stoker)
        self.live = fresh(stoker, self.entries)
        if state is not None:
            load(self.live, state)
        self._visits, self._changes = Position(self.live.now), Position(self.live.now)
        self._planned: list[str] = []
        self._planned_at: float | None = None
        self._may = 0
        self.held_back: str | None = None
        """Why operators do not let it warm."""
        self._run = b""

    async def step(self, every: timedelta) -> list[Candidate]:
        """Learn, and choose what to warm until the next step."""
        step_s = every.total_seconds()
        store = self._stoker.cache.store
        server = await store.client.server()
        now = server.now_us() / 1e6
        if server.run != self._run:
            self._run = server.run
            self.live.forget_cache()
        if self._planned_at is None or not 0 <= now - self._planned_at < PLAN_READ_S:
            await self.entries.learn_costs()
            self._planned = await self.entries.planned()
            self._planned_at = now
        visits, at = await visits_since(store.client, store.keys, self._visits)
        changes, changed_at = await changes_since(store.client, store.keys, self._changes)
        self._visits, self._changes = at, changed_at
        return await asyncio.to_thread(self._advance, now, step_s, visits, changes)

    def built(self, built: Sequence[Candidate], left: Sequence[Candidate], took_s: float) -> None:
        """What became of the choice, and the seconds that loading took."""
        self.live.built(self.live.now, built, left, took_s)

    def figures(self) -> PredictionFigures:
        """For operators."""
        return figures_of(self.live, self._may, self.held_back)

    def dumped(self) -> bytes:
        """The state, to be kept."""
        return dump(self.live)

    def weights(self) -> dict[str, list[float]]:
        """The weights by feature, one for each bin."""
        weights = self.live.predictor.regression.weights
        return {
            name: [round(one, 4) for one in weights[first : first + SIZES[name]]]
            for name, first in zip(NAMES, first_bins(), strict=True)
        }

    def _advance(
        self, now: float, step_s: float, visits: Sequence[Visit], changes: Sequence[Change]
    ) -> list[Candidate]:
        live, entries = self.live, self.entries
        concerned = self._concerned(changes)
        happened: list[Visit | Change] = [*visits]
        happened += changes
        for one in sorted(happened, key=lambda one: one.at):
            if isinstance(one, Change):
                for entry in concerned[one]:
                    live.change(one.at, entry)
            elif entries.key(entry := one.member.decode(errors="replace")) is not None:
                live.read(one.at, one.reader.decode(errors="replace"), entry)
        read = [str(entry) for entry, _ in live.predictor.activities.since(now - 86400)]
        may = entries.may_be_warmed(self._planned, read)
        self._may = len(may)
        return live.plan(now, step_s, may, entries.cost)

    def _concerned(self, changes: Sequence[Change]) -> dict[Change, list[str]]:
        """The known entries that each change concerns."""
        if not changes:
            return {}
        known = dict.fromkeys(
            [str(entry) for entry, _ in self.live.predictor.activities.since(0)] + self._planned
        )
        by_scope: defaultdict[Scope, list[str]] = defaultdict(list)
        for entry in known:
            if (key := self.entries.key(entry)) is not None:
                by_scope[key.scope].append(entry)
        every = Scope(EVERY_SCOPE, "")
        return {
            one: self.entries.changed(one, known if one.scope == every else by_scope.get(one.scope, ()))
            for one in changes
        }
