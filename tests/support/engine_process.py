"""A worker process of its own, for tests that kill it: `python -m tests.support.engine_process <json>`.

A job named `hang...` never ends, `slow...` takes a while, `die` kills its process, `die-late` does so once
another job hangs in it, `block` blocks the event loop. Each start prints a line to stdout. `without` makes it
an older release, which does not know that job.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time

from sqlalchemy.ext.asyncio import create_async_engine

from stoker.jobs import JOBS, LANES, Job
from stoker.settings import LaneSettings
from stoker.worker.engine.runner import Engine, EngineSettings
from tests.support.engine_stage import TEST_JOBS, settings_of

hanging = asyncio.Event()
BLOCK_S = 4
"""Seconds: more than two lives of the claims of a test that sets `claim_life_s` to 1.5."""


async def run(job_id: str, job: Job, attempt: int) -> str:
    """Do what the job's name says."""
    name: str = getattr(job, "name", job.kind)
    sys.stdout.write(f"{name} {attempt} {job_id}\n")
    sys.stdout.flush()
    if name == "die-late":
        await hanging.wait()
    if name.startswith("die"):
        os.kill(os.getpid(), signal.SIGKILL)
    if name.startswith("hang"):
        hanging.set()
        await asyncio.Event().wait()
    if name == "block":
        time.sleep(BLOCK_S)  # noqa: ASYNC251 - that is the mistake
    if name.startswith("slow"):
        await asyncio.sleep(0.2)
    return "done"


async def main(options: dict[str, str]) -> None:
    """Run until SIGTERM."""
    JOBS.update(TEST_JOBS)
    JOBS.pop(options.get("without", ""), None)
    concurrency = int(options.get("concurrency", "4"))
    life_s = float(options.get("claim_life_s", "6"))
    sql = create_async_engine(options["database"], pool_pre_ping=True)
    engine = Engine(
        options["queue"],
        settings_of(options["prefix"]),
        EngineSettings({lane: LaneSettings(concurrency=concurrency) for lane in LANES}, 1, life_s),
        run=run,
        sql=sql,
    )
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    sys.stdout.write("up\n")
    sys.stdout.flush()
    await engine.run(stop)
    await sql.dispose()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
