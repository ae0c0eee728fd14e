"""The web request that updates a project: recording its event and ringing, against recording nothing."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from sqlalchemy import text

from bench.captured import without_captures
from bench.changes import Change, changes
from bench.figures import Figure
from bench.ground import Bench
from bench.peer import OUR_PYTHON, running

IDS = ("record-cost", "record-cost-insert")
RUN = 5
"""Requests of one side before the next one's turn: short, as what a commit costs changes by the tenth of a
second. The first is not counted: what the one before left behind, a ring among it, was another side's."""
RUNS = 5
"""Of each side, for one figure."""
ROUNDS = 8
"""Rounds to a block of other rows."""
BARE_TABLE = text(
    "CREATE TABLE IF NOT EXISTS bench_row (id bigserial PRIMARY KEY, kind text, payload jsonb, scopes jsonb)"
)
PATIENT = {"STOKER__CACHE__BREAKER_UNSETTLED_S": "86400"}
"""Events stay unapplied."""
BODY = b'{"intended_use":"Measure."}'
NOTE = (
    "PATCH over HTTP, through a Unix socket, to the demonstration's web app: one request after the other on "
    "a kept connection, one process of it for each side; no capture is on the tables"
)


class Site:
    """A web app, and our connection to it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def update(self, one: Change) -> None:
        """Change a project as its owner, and read the answer."""
        self._writer.write(
            b"PATCH /projects/%d HTTP/1.1\r\nHost: localhost\r\nX-User: %d\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            % (one.project, one.owner, len(BODY), BODY)
        )
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        answer = await self._reader.readexactly(length)
        if b" 200 " not in head.partition(b"\r\n")[0]:
            raise ValueError(f"the web app answers {answer.decode()}")

    def close(self) -> None:
        """Hang up."""
        self._writer.close()


async def measure(bench: Bench) -> list[Figure]:
    """No worker runs, so that only what the web app pays is seen."""
    async with without_captures(bench), bench.stoker() as stoker, AsyncExitStack() as stack:
        async with stoker.session() as session, session.begin():
            await session.execute(BARE_TABLE)
        ours, silent, bare = [await _opened(bench, stack, kind) for kind in ("ours", "silent", "bare")]
        wanted = await changes(stoker, RUN)
        rounds = [
            await _round((ours, silent, bare), wanted)
            for _ in range(bench.scale.count(bench.scale.blocks * ROUNDS, least=2))
        ]
    recording, nothing, inserting = ([one[side] for one in rounds[1:]] for side in range(3))
    return [
        Figure("record-cost", "the same recording nothing", "us", "<= 1.2", recording, nothing, NOTE),
        Figure(
            *("record-cost-insert", "the same with a bare INSERT", "us", "<= 1.05", recording, inserting),
            "the row says what ours says, its id is returned",
        ),
    ]


async def _opened(bench: Bench, stack: AsyncExitStack, kind: str) -> Site:
    peer = await stack.enter_async_context(
        running("webapp", kind, python=OUR_PYTHON, env={**bench.env, **PATIENT})
    )
    path = str(Path(stack.enter_context(TemporaryDirectory(prefix="stoker-bench-"))) / "web")
    await peer.ask("listen", path=path)
    site = Site(*await asyncio.open_unix_connection(path))
    stack.callback(site.close)
    return site


async def _round(sites: Sequence[Site], wanted: Sequence[Change]) -> list[float]:
    """The median request of each side, in microseconds: of few, one that waited for a disk says nothing."""
    took: list[list[float]] = [[] for _ in sites]
    gc.collect()
    for run in range(RUNS):
        for turn in range(len(sites)):
            side = (run + turn) % len(sites)
            took[side] += (await _updates(sites[side], wanted))[1:]
    return [median(found) * 1e6 for found in took]


async def _updates(site: Site, wanted: Sequence[Change]) -> list[float]:
    took: list[float] = []
    for one in wanted:
        started = time.perf_counter()
        await site.update(one)
        took.append(time.perf_counter() - started)
    return took
