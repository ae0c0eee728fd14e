"""A worker process of the stress test: `python -m tests.stress.worker <json>`; killed by its driver."""

from __future__ import annotations

import asyncio
import json
import sys

from sqlalchemy.ext.asyncio import create_async_engine

from stoker.jobs import JOBS, Lane
from stoker.queue.enqueue import Queue
from stoker.settings import LaneSettings
from stoker.worker.engine.runner import Engine, EngineSettings
from tests.stress import builds
from tests.support.engine_stage import settings_of

SLOTS = 6
CLAIM_LIFE_S = 1.5
"""Short, so that kills cost a run little time."""


async def main(options: dict[str, str]) -> None:
    """Run until killed."""
    JOBS.update(builds.JOBS)
    settings = settings_of(options["prefix"])
    queue = Queue.from_url(options["queue"], settings)
    engine = Engine(
        options["queue"],
        settings,
        EngineSettings({Lane.REFRESH: LaneSettings(concurrency=SLOTS)}, claim_life_s=CLAIM_LIFE_S),
        run=builds.Entries(queue).build,
        sql=create_async_engine(options["database"]),
    )
    sys.stdout.write("up\n")
    sys.stdout.flush()
    await engine.run(asyncio.Event())


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
