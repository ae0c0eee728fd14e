"""`stoker run --lanes` in two processes: each runs the jobs of its own lane, and no other."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from stoker import Job, JobContext, Lane, Stoker
from tests.library import domain as library
from tests.support.place import Place
from tests.support.programs import program

ROOT = Path(__file__).parents[2]
WITHIN = timedelta(seconds=90)


class Mail(Job):
    kind = "split.mail"
    lane = "mail"
    keep_result = timedelta(minutes=5)


class Export(Job):
    kind = "split.export"
    lane = "export"
    keep_result = timedelta(minutes=5)


async def where(_: JobContext, __: Job) -> int:
    return os.getpid()


domain = replace(
    library,
    migrations=None,
    lanes=(Lane("mail"), Lane("export")),
    handlers={Mail: where, Export: where},
    schedule=(),
)


async def test_two_processes_split_the_lanes(place: Place) -> None:
    variables = {**place.environment(), "STOKER__DOMAIN": f"{__name__}:domain"}
    run = (sys.executable, "-m", "stoker", "run", "--lanes")
    async with (
        program(ROOT, *run, "mail,changes", **variables) as one,
        program(ROOT, *run, "export", **variables) as other,
        Stoker.opened(place.settings(), domain) as stoker,
    ):
        asked = await stoker.enqueue_many([Mail(), Export()] * 5)
        ran = [await stoker.result(job.job_id, timeout=WITHIN) for job in asked]
        assert set(ran[::2]) == {one.process.pid}
        assert set(ran[1::2]) == {other.process.pid}
