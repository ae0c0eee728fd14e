"""A schedule in a process that tests kill: `python -m tests.support.schedule_process <json>`.

Its one task enqueues a job at an interval. With `die`, the process is killed between the claim of its first
slot and the enqueueing.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from datetime import timedelta

from sqlalchemy.ext.asyncio import create_async_engine

from stoker.jobs import JOBS, Job
from stoker.queue.answers import Enqueued
from stoker.queue.enqueue import Queue
from stoker.schedule import Every
from stoker.settings import OverlapPolicy, ScheduleSettings
from stoker.worker.schedule.ledger import Ledger
from stoker.worker.schedule.runner import Schedule
from tests.support.engine_stage import TEST_JOBS, Work, settings_of


async def main(options: dict[str, str]) -> None:
    """Run until SIGTERM."""
    JOBS.update(TEST_JOBS)
    sql = create_async_engine(options["database"])
    queue = Queue.from_url(options["queue"], settings_of(options["prefix"]))

    async def enqueue(job: Job) -> Enqueued:
        if options.get("die"):
            os.kill(os.getpid(), signal.SIGKILL)
        return await queue.enqueue(job)

    every = timedelta(seconds=float(options["every_s"]))
    task = Every("task", Work(name="slot"), every, overlap=OverlapPolicy.ALLOW)
    settings = ScheduleSettings(lease_s=float(options.get("lease_s", "60")), retry_s=0.1)
    schedule = Schedule([task], Ledger(sql, f"pid {os.getpid()}"), enqueue, queue.is_open, settings)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    sys.stdout.write("up\n")
    sys.stdout.flush()
    await schedule.run(stop)
    await queue.close()
    await sql.dispose()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
