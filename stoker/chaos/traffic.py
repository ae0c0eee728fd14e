"""Readers and writers that go on whatever breaks, and judge every answer.

Readers ask any web app for any probe. Writers change what the workload changes; each change is followed in
SQL until it is applied, and from then on every read that begins must show it. An outage is a fair answer, and
so is none; an unexpected error is not.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from random import Random
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from stoker.chaos.acts import Act, Newer, Slow, What
from stoker.chaos.bounds import Bounds
from stoker.chaos.link import NoAnswer
from stoker.chaos.slots import Slot
from stoker.chaos.tally import Tally
from stoker.chaos.workload import ChaosWorkload, Probe
from stoker.errors import DatabaseUnavailable
from stoker.postgres import database_errors

LOOK_S = 0.05
AWAY_S = 0.05
THINK_S = 0.02
"""Mean pause of a reader: the driver shares its processors with what it tries."""
POPULAR = 1.0
"""Exponent of popularity by rank: most reads go to few entries, which therefore are hits."""
REVISITS = 0.5
"""Share of reads that go to what was changed last: where a stale answer would be."""
LEAVING, STAYS_S = 0.05, 0.004
"""Share of readers who go away before they are answered (RACES 24, 41), and after how long on average."""

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
"""Jobs that are asked for: relative frequency, kind, arguments."""


@dataclass(frozen=True)
class Followed:
    """A committed change whose event is not seen applied yet; `began`: seconds since 1970."""

    shows: Mapping[str, int]
    began: float


class Traffic:
    """All readers and writers of one run."""

    def __init__(
        self,
        workload: ChaosWorkload,
        probes: Sequence[Probe],
        webapps: Sequence[Slot],
        sql: AsyncEngine,
        tally: Tally,
        *,
        rng: Random,
    ) -> None:
        self.bounds = Bounds()
        self.events: dict[int, float] = {}
        """Every event whose change was acknowledged, and when."""
        self._workload = workload
        self._probes = list(probes)
        self._weights = list(itertools.accumulate(rank**-POPULAR for rank in range(1, len(probes) + 1)))
        self._webapps = webapps
        self._sql = sql
        self._tally = tally
        self._rng = rng
        self._following: dict[int, Followed] = {}
        self._subjects: dict[str, set[int]] = {}
        """Probes that have shown a subject."""
        self._changed: list[str] = []
        self._writing: set[asyncio.Task[None]] = set()

    async def read_on(self) -> None:
        """One reader, until cancelled."""
        while True:
            at = self._next_probe()
            leaves_after_s = self._rng.expovariate(1 / STAYS_S) if self._rng.random() < LEAVING else None
            await self.read(self._rng.choice(self._webapps), at, leaves_after_s=leaves_after_s)
            await asyncio.sleep(self._rng.expovariate(1 / THINK_S))

    async def write_on(self, per_s: float) -> None:
        """Changes at a mean rate, until cancelled; those under way go on."""
        while True:
            await asyncio.sleep(self._rng.expovariate(per_s))
            self._start(self.change())

    async def misbehave_on(self, per_s: float, chosen: Sequence[str]) -> None:
        """Jobs that work and jobs that do not, until cancelled."""
        while chosen:
            await asyncio.sleep(self._rng.expovariate(per_s))
            [name] = self._rng.choices(chosen, [MISCHIEF[one][0] for one in chosen])
            self._start(self.mischief(name))

    async def follow_on(self) -> None:
        """Look which changes are applied, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            await self.follow()

    async def read(
        self, webapp: Slot, at: int, *, bypass: bool = False, leaves_after_s: float | None = None
    ) -> dict[str, Any] | None:
        """One read, judged; None unless it was answered with a value."""
        probe, began = self._probes[at], time.monotonic()
        answer = await self._ask(
            webapp, "read", probe=asdict(probe), bypass=bypass, leaves_after_s=leaves_after_s
        )
        if answer is None:
            return None
        self._tally.reads[answer["state"]] += 1
        for subject in answer["shows"]:
            self._subjects.setdefault(subject, set()).add(at)
        if answer["state"] != "stale":  # marked as what it is: its loader failed
            self._judge(probe, answer, began, webapp)
        return answer

    async def change(self, webapp: Slot | None = None) -> int | None:
        """One change; its event, if it was acknowledged."""
        began = time.time()
        answer = await self._ask(
            webapp or self._rng.choice(self._webapps), "change", seed=self._rng.getrandbits(32)
        )
        if answer is None:
            return None
        event: int = answer["event"]
        self._tally.changes += 1
        self.events[event] = began
        followed = Followed(answer["shows"], began)
        if answer["applied"]:
            self._applied(followed)
        else:
            self._following[event] = followed
        return event

    async def mischief(self, name: str) -> None:
        """One job."""
        if name == KILLER and self._tally.mischief[KILLER]:
            return  # one is enough: it kills three workers, one after the other, before it is in quarantine
        _, kind, arguments = MISCHIEF[name]
        answer = await self._ask(self._rng.choice(self._webapps), "job", kind=kind, arguments=arguments)
        if answer is not None:
            self._tally.mischief[name] += 1
            self._tally.acknowledged.add(answer["job_id"])

    async def follow(self) -> None:
        """Look once which changes are applied."""
        if not self._following:
            return
        try:
            with database_errors():
                async with self._sql.connect() as connection:
                    found = await connection.scalars(_SETTLED, {"ids": list(self._following)})
                    settled = list(found)
        except DatabaseUnavailable:
            return
        for event in settled:
            followed = self._following.pop(event, None)
            if followed is not None:
                self._applied(followed)

    async def finish(self) -> None:
        """Wait for the requests under way."""
        while self._writing:
            await asyncio.wait(self._writing)

    @property
    def count(self) -> int:
        """How many probes there are."""
        return len(self._probes)

    def probe(self, at: int) -> Probe:
        """One of them."""
        return self._probes[at]

    def _applied(self, followed: Followed) -> None:
        self._tally.changes_followed += 1
        self.bounds.applied(followed.shows, time.monotonic())
        self._changed = [*followed.shows, *self._changed][:50]
        self._tally.in_effect(followed.began)

    def _judge(self, probe: Probe, answer: dict[str, Any], began: float, webapp: Slot) -> None:
        self._tally.reads_checked += 1
        least = {subject: self.bounds.least(subject, began) for subject in answer["shows"]}
        self._tally.reads_of_changed += any(revision is not None for revision in least.values())
        wrong = {s: (n, least[s]) for s, n in answer["shows"].items() if n < (least[s] or n)}
        if wrong:
            subject, (shown, wanted) = next(iter(wrong.items()))
            self._tally.stale_reads += 1
            self._tally.note(
                "stale read",
                f"{webapp.name} answered {probe} ({answer['state']}) with {subject} at {shown}, "
                f"but {wanted} was applied before",
            )

    def _next_probe(self) -> int:
        if self._changed and self._rng.random() < REVISITS:
            seen = self._subjects.get(self._rng.choice(self._changed))
            if seen:
                return self._rng.choice(sorted(seen))
        return self._rng.choices(range(len(self._probes)), cum_weights=self._weights)[0]

    async def _ask(self, webapp: Slot, do: str, **arguments: Any) -> dict[str, Any] | None:  # noqa: ANN401 - JSON
        try:
            answer = await webapp.link.ask(do, **arguments)
        except NoAnswer:
            self._tally.unanswered += 1
            await asyncio.sleep(AWAY_S)
            return None
        match answer.get("error"):
            case None:
                return answer
            case "outage":
                self._tally.outages += 1
                await asyncio.sleep(AWAY_S)
            case "left":
                self._tally.left += 1
            case "refusal":
                self._tally.refusals[answer["message"].partition(":")[0]] += 1
            case _:
                self._tally.note("unexpected error", f"{webapp.name}, {do} {arguments}: {answer['message']}")
        return None

    def _start(self, work: Any) -> None:  # noqa: ANN401 - a coroutine
        task = asyncio.ensure_future(work)
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)


_SETTLED = text("SELECT id FROM stoker.cache_events WHERE id = ANY(:ids) AND settled_at IS NOT NULL")
