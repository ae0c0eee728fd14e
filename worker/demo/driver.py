"""Sends what the simulated users do, on schedule, and judges every answer.

Open loop: a request is sent when it is due, however slow the answers before it are, and its latency counts
from then. A web app that does not answer is counted, never waited for.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

from worker.demo.client import HttpClient, NoReply, Reply
from worker.demo.reads import Expected, Read, Shown, expected, shown, staleness
from worker.demo.tally import Tally
from worker.demo.traffic import Act, Traffic
from worker.demo.world import World

BYPASS_EVERY = 10
"""One of so many reads bypasses the cache, to know what SQL takes under the same load."""
CONDITIONAL = 0.3
"""Share of reads that say which version their browser has, where it has one."""
OK, NOT_MODIFIED = 200, 304
REFUSED = frozenset({403, 404})
SERVER_ERROR = 500


class Driver:
    """All simulated users."""

    def __init__(self, client: HttpClient, world: World, traffic: Traffic, tally: Tally) -> None:
        self.client = client
        self.world = world
        self.traffic = traffic
        self.tally = tally
        self.served: dict[str, Read] = {}
        """Reads that were served: the last of each entry."""
        self._browsers: dict[tuple[int, str], tuple[str, Shown]] = {}
        """What each user's browser keeps: entity tag and what that version showed."""
        self._reads_sent = 0

    async def run(
        self, seconds: float, rate: float, write: Callable[[float], Any], until: Sequence[str] = ()
    ) -> None:
        """Send requests at a mean rate per second, `until` see DemoOptions; returns when all are answered."""
        began = due = time.perf_counter()
        acts = {Act.READ: self._a_read, Act.INTRUDE: self._an_intrusion, Act.WRITE: write}
        async with asyncio.TaskGroup() as requests:
            while (due := due + self.traffic.gap_s(rate)) < began + seconds and not self.tally.shows(until):
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                self.tally.late_ms.append((time.perf_counter() - due) * 1000)
                requests.create_task(acts[self.traffic.act()](due))

    async def send(self, method: str, path: str, user: int, **more: Any) -> Reply | None:  # noqa: ANN401
        """One request; None, counted, when there is no answer or the server's own error."""
        try:
            reply = await self.client.request(method, path, user, **more)
        except NoReply as error:
            self.tally.note("no answer", str(error))
            return None
        if reply.status >= SERVER_ERROR:
            self.tally.server_errors += 1
            self.tally.note(
                "5xx", f"{reply.status} {method} {path}: {reply.body[:200].decode(errors='replace')}"
            )
            return None
        return reply

    async def read(self, read: Read, due: float | None = None) -> None:
        """A read that must be served, and not with anything older than what was applied before."""
        due = time.perf_counter() if due is None else due
        self._reads_sent += 1
        bypass = self._reads_sent % BYPASS_EVERY == 0
        kept = self._kept(read)
        want = expected(self.world, read)
        reply = await self.send(
            "GET", read.bypass if bypass else read.path, read.user, etag=kept[0] if kept else None
        )
        ms = (time.perf_counter() - due) * 1000
        if reply is None:
            return
        got = self._shown(read, reply, kept)
        if got is None:
            if want.flux == self.world.flux[read.user]:
                self.tally.note("refused a member", f"{reply.status} {read.path} as user {read.user}")
            return
        self.tally.reads += 1
        self.tally.ms[read.view, reply.headers["x-cache"]].append(ms)
        self.served[read.path if read.project else f"{read.user} {read.path}"] = read
        self._browsers[read.user, read.path] = (reply.headers["etag"], got)
        self._judge(read, want, got, reply)

    async def intrude(self, read: Read, *, removed: bool) -> None:
        """A read that must be refused, even to a browser that has the page already."""
        kept = self._browsers.get((read.user, read.path))
        flux = self.world.flux[read.user]
        reply = await self.send("GET", read.path, read.user, etag=kept[0] if kept else None)
        if reply is None or (not removed and flux != self.world.flux[read.user]):
            return  # a stranger who was made a member meanwhile
        self.tally.forbidden_reads_attempted += 1
        if reply.status not in REFUSED:
            self.tally.forbidden_reads_served += 1
            self.tally.note("forbidden read served", f"{reply.status} {read.path} to user {read.user}")

    async def _a_read(self, due: float) -> None:
        await self.read(self.traffic.read(), due)

    async def _an_intrusion(self, _due: float) -> None:
        read, removed = self.traffic.intrusion()
        await self.intrude(read, removed=removed)

    def _kept(self, read: Read) -> tuple[str, Shown] | None:
        kept = self._browsers.get((read.user, read.path))
        return kept if kept and self.traffic.rng.random() < CONDITIONAL else None

    def _shown(self, read: Read, reply: Reply, kept: tuple[str, Shown] | None) -> Shown | None:
        if reply.status == NOT_MODIFIED and kept is not None:
            self.tally.not_modified += 1
            return kept[1]  # «what you have is current»: judged as if it had been sent
        return shown(read.view, reply.body) if reply.status == OK else None

    def _judge(self, read: Read, want: Expected, got: Shown, reply: Reply) -> None:
        self.tally.reads_checked += 1
        first = self.world.first_revision
        self.tally.reads_of_changed += want.newest >= first or any(
            want.least.get(number, 0) >= first for number in got.items
        )
        if reply.headers["x-cache"] == "stale":
            self.tally.note("marked stale", f"{read.path}: a loader failed")
        same_rights = read.project is not None or want.flux == self.world.flux[read.user]
        why = staleness(want, got, same_rights=same_rights)
        if why is not None:
            self.tally.stale_reads += 1
            self.tally.note(
                "stale read", f"{read.path} as user {read.user} ({reply.headers['x-cache']}) {why}"
            )
        for number in want.never & got.items.keys():
            self.tally.forbidden_reads_served += 1
            self.tally.note(
                "forbidden read served", f"{read.path} lists project {number} to user {read.user}"
            )
