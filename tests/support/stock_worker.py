"""A stock arq worker on a lane, for tests: `python -m tests.support.stock_worker <json>`.

It prints a line at each start. A job named `hold...` ends when a line comes on stdin, one named `fail...` is
given back by `Retry` on its first try.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from arq.connections import RedisSettings
from arq.worker import Retry, Worker, func

from stoker.jobs import Lane
from stoker.queue import wire
from tests.support.engine_stage import Work, settings_of


async def work(ctx: dict[Any, Any], job: dict[str, Any]) -> None:
    """Do what the job's name says."""
    sys.stdout.write(f"{job['name']} {ctx['job_try']} {ctx['job_id']}\n")
    sys.stdout.flush()
    if job["name"].startswith("hold"):
        await asyncio.to_thread(sys.stdin.readline)
    if job["name"].startswith("fail") and ctx["job_try"] == 1:
        raise Retry(defer=0.01)


def main(options: dict[str, str]) -> None:
    """Run until SIGTERM."""
    Worker(
        [func(work, name=Work.kind)],
        queue_name=wire.queue_name(settings_of(options["prefix"]), Lane.WARM),
        redis_settings=RedisSettings.from_dsn(options["queue"]),
        on_startup=up,
        keep_result=0,
        poll_delay=0.02,
        job_serializer=wire.serialize,
        job_deserializer=wire.deserialize,
    ).run()


async def up(ctx: dict[Any, Any]) -> None:  # noqa: ARG001 - arq's signature
    """Say so."""
    sys.stdout.write("up\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
