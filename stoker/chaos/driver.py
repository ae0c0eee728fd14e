"""Sends the requests of the simulated users on schedule, and judges every answer.

Open loop: a request is sent when it is due, however slow the answers before it are, and its latency counts
from then. Under faults the number of concurrent requests is limited, so that a machine that a fault slows
down is not flooded.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from random import Random
from typing import Any

from stoker.chaos.changes import Changes, Followed
from stoker.chaos.sending import Sender
from stoker.chaos.slots import Slot
from stoker.chaos.surroundings import LEAVES_AFTER
from stoker.chaos.tally import Tally
from stoker.chaos.workload import Read, Users

BYPASS_EVERY = 10
"""One in this many reads bypasses the cache, to measure SQL under the same load."""
CONDITIONAL = 0.3
"""Share of reads that send the entity tag of their browser's version, if it has one."""
LEAVING, STAYS_S = 0.05, 0.004
"""Under faults: share of readers who go away before they are answered (RACES 24, 41), and after how long."""
AT_ONCE = 40
"""Under faults: most concurrent requests. Requests that wait for a silent server must not hold up the
rest."""
OK, NOT_MODIFIED = 200, 304
REFUSED = frozenset({403, 404})


class Act(StrEnum):
    """What one arrival does."""

    READ = "read"
    INTRUDE = "intrude"
    """A read that must be refused."""
    WRITE = "write"


SHARES = {Act.READ: 0.885, Act.INTRUDE: 0.065, Act.WRITE: 0.05}


class Driver(Sender):
    """All simulated users of one run."""

    def __init__(
        self,
        webapps: Sequence[Slot],
        users: Users,
        tally: Tally,
        rng: Random,
        *,
        faulty: bool = False,
        shares: Mapping[Act, float] | None = None,
    ) -> None:
        super().__init__(webapps, tally, rng, faulty=faulty)
        self.users = users
        self.changes = Changes(tally)
        self.asked: dict[str, Read] = {}
        """Every entry that was asked for: its last read."""
        self.served: dict[str, Read] = {}
        """Those among them that were served."""
        self._shares = shares or SHARES
        self._browsers: dict[tuple[int, str], tuple[str, Any]] = {}
        """What each user's browser keeps: the entity tag, and what that version showed."""
        self._reads_sent = 0
        self._stopped = False

    async def run(self, seconds: float, rate: float) -> None:
        """Send requests at a mean rate per second until it is stopped; returns when all are answered."""
        began = due = time.perf_counter()
        acts = {Act.READ: self._a_read, Act.INTRUDE: self._an_intrusion, Act.WRITE: self.edit}
        kinds, weights = list(self._shares), list(self._shares.values())
        free = asyncio.Semaphore(AT_ONCE)
        async with asyncio.TaskGroup() as requests:
            while (due := due + self.rng.expovariate(rate)) < began + seconds:
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                if self.faulty:
                    await free.acquire()
                    due = max(due, time.perf_counter())
                if self._stopped:
                    return
                self.tally.late_ms.append((time.perf_counter() - due) * 1000)
                [act] = self.rng.choices(kinds, weights)
                request = requests.create_task(acts[act](due))
                if self.faulty:
                    request.add_done_callback(lambda _: free.release())

    def stop(self) -> None:
        """Send no more requests; `run` returns when all are answered."""
        self._stopped = True

    async def read(self, read: Read, due: float | None = None) -> None:
        """A read that must be served, and not with anything older than what was applied before."""
        due = time.perf_counter() if due is None else due
        self._reads_sent += 1
        path = read.bypass if self._reads_sent % BYPASS_EVERY == 0 else read.path
        kept, rights = self._kept(read), self.users.rights(read.reader)
        expected = self.users.expected(read)
        self.asked[_entry(read)] = read
        reply = await self.send("GET", path, read.reader, etag=kept and kept[0], headers=self._patience())
        if reply is None:
            return
        if reply.status not in (OK, NOT_MODIFIED):
            if rights == self.users.rights(read.reader):
                self.tally.note("refused a member", f"{reply.status} {path} as user {read.reader}")
            return
        state = reply.headers["x-cache"]
        self.tally.reads += 1
        self.tally.ms[read.view, state].append((time.perf_counter() - due) * 1000)
        self.served[_entry(read)] = read
        if reply.status == NOT_MODIFIED and kept is not None:
            self.tally.not_modified += 1
            shown = kept[1]  # "what you have is current": judged as if it had been sent
        else:
            shown = self.users.shown(read, reply.body)
        self._browsers[read.reader, read.path] = (reply.headers["etag"], shown)
        self._judge(read, expected, shown, state)

    async def intrude(self, read: Read) -> None:
        """A read that must be refused, even to a browser that has the page already."""
        kept, rights = self._browsers.get((read.reader, read.path)), self.users.rights(read.reader)
        self.asked[_entry(read)] = read
        reply = await self.send("GET", read.path, read.reader, etag=kept and kept[0])
        if reply is None or rights != self.users.rights(read.reader):
            return  # the reader may have become a member meanwhile
        self.tally.forbidden_reads_attempted += 1
        if reply.status not in REFUSED:
            self._forbidden(f"{reply.status} {read.path} to user {read.reader}")

    async def edit(self, due: float | None = None) -> None:
        """One change by any user."""
        await self.users.edit(self, time.perf_counter() if due is None else due)

    def wrote(self, answer: Mapping[str, Any], due: float, began: float, applied: Callable[[], None]) -> None:
        """A write was acknowledged: call `applied` as soon as it is known to be in effect.

        `due` by the performance counter, `began` in seconds since 1970.
        """
        self.tally.writes += 1
        self.tally.write_ms.append((time.perf_counter() - due) * 1000)
        self.tally.changes[answer["transaction_id"]] = began
        is_applied = answer["applied"] == "applied"
        self.changes.add(answer["transaction_id"], Followed(began, applied), applied=is_applied)

    async def _a_read(self, due: float) -> None:
        await self.read(self.users.read(), due)

    async def _an_intrusion(self, _due: float) -> None:
        read = self.users.intrusion()
        if read is not None:
            await self.intrude(read)

    def _kept(self, read: Read) -> tuple[str, Any] | None:
        kept = self._browsers.get((read.reader, read.path))
        return kept if kept and self.rng.random() < CONDITIONAL else None

    def _patience(self) -> Mapping[str, str]:
        if not self.faulty or self.rng.random() >= LEAVING:
            return {}
        return {LEAVES_AFTER: f"{self.rng.expovariate(1 / STAYS_S):.5f}"}

    def _judge(self, read: Read, expected: object, shown: object, state: str) -> None:
        if state == "stale":  # it is marked stale: its loader failed
            if not self.faulty:
                self.tally.note("marked stale", f"{read.path}: a loader failed")
            return
        verdict = self.users.judge(read, expected, shown)
        self.tally.reads_checked += 1
        self.tally.reads_of_changed += verdict.of_changed
        if verdict.stale is not None:
            self.tally.stale_reads += 1
            self.tally.note("stale read", f"{read.path} as user {read.reader} ({state}) {verdict.stale}")
        for what in verdict.forbidden:
            self._forbidden(f"{read.path} shows {what} to user {read.reader}")

    def _forbidden(self, what: str) -> None:
        self.tally.forbidden_reads_served += 1
        self.tally.note("forbidden read served", what)


def _entry(read: Read) -> str:
    return f"{read.view} {read.scope_id} {sorted(read.params.items())}"
