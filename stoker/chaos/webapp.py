"""A web app on a domain it knows nothing of: reads, changes and asks for jobs as a workload says.

One JSON object per line in, one out, over a Unix socket: what HTTP would add takes time from what is tried.
It uses `jobs` as any web app does; all its errors are answers.
"""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

from stoker import Applied, Forbidden, Stoker, StokerError, Unavailable
from stoker.chaos.acts import Poison
from stoker.chaos.workload import ChaosWorkload, Probe
from stoker.errors import CommittedNotApplied
from stoker.jobs import parse

WAIT = timedelta(seconds=1)
"""How long a writer waits for its change to be applied; the driver follows it from there."""
LONGEST_LINE = 16 * 1024 * 1024

Asked = dict[str, Any]
Answer = dict[str, Any]


class WebApp:
    """What can be asked."""

    def __init__(self, stoker: Stoker, workload: ChaosWorkload) -> None:
        self._stoker = stoker
        self._workload = workload

    async def answer(self, asked: Asked) -> Answer:
        """Answer one request; `error` says whether it was an outage, a refusal or a bug."""
        doing: Callable[[Asked], Awaitable[Answer]] = getattr(self, f"_{asked['do']}")
        try:
            return await doing(asked)
        except (Unavailable, CommittedNotApplied) as error:
            return {"error": "outage", "message": f"{type(error).__name__}: {error}"}
        except Forbidden as error:
            return {"error": "forbidden", "message": str(error)}
        except StokerError as error:
            return {"error": "refusal", "message": f"{type(error).__name__}: {error}"}
        except Exception:  # noqa: BLE001 - whatever it is, it is the finding
            return {"error": "bug", "message": traceback.format_exc()[-2000:]}

    async def _read(self, asked: Asked) -> Answer:
        probe = Probe(**asked["probe"])
        try:
            async with asyncio.timeout(asked.get("leaves_after_s")) as patience:
                reading = await self._stoker.read(
                    probe.view,
                    probe.scope_id,
                    probe.params,
                    reader=probe.reader,
                    bypass=asked.get("bypass", False),
                )
        except TimeoutError:
            if not patience.expired():
                raise
            return {"error": "left", "message": "the reader went away"}
        shows = self._workload.shows(probe, reading.shared)
        return {"state": reading.state, "shows": dict(shows), "etag": reading.etag}

    async def _change(self, asked: Asked) -> Answer:
        change = await self._workload.change(self._stoker, Random(asked["seed"]))  # noqa: S311 - a simulation
        applied = False
        try:
            applied = await change.receipt.applied(WAIT) is Applied.APPLIED
        except Unavailable:
            applied = False  # committed all the same: the driver follows it
        return {"event": change.receipt.event_id, "shows": dict(change.shows), "applied": applied}

    async def _revoke(self, asked: Asked) -> Answer:
        revocation = await self._workload.revoke(self._stoker, asked["number"])
        if revocation is None:
            return {"event": None, "refused": []}
        return {
            "event": revocation.receipt.event_id,
            "refused": [asdict(probe) for probe in revocation.refused],
        }

    async def _poison(self, asked: Asked) -> Answer:
        async with self._stoker.session() as session, session.begin():
            receipt = self._stoker.record(session, Poison(**asked["scope"]))
        return {"event": receipt.event_id}

    async def _job(self, asked: Asked) -> Answer:
        enqueued = await self._stoker.enqueue(parse(asked["kind"], asked["arguments"]))
        return {"job_id": enqueued.job_id, "answer": enqueued.answer}


async def serve(stoker: Stoker, workload: ChaosWorkload, path: Path, stop: asyncio.Event) -> None:
    """Answer until told to stop."""
    app = WebApp(stoker, workload)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                answer = await app.answer(json.loads(line))
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        except ConnectionError:
            return  # the driver gave up waiting
        finally:
            writer.close()

    server = await asyncio.start_unix_server(talk, str(path), limit=LONGEST_LINE)
    try:
        await stop.wait()
    finally:
        server.close()
