"""A worker that ends while a handler ignores its cancellation says so once, and nothing else."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from stoker import Job, JobContext, Lane, RetryPolicy, Stoker
from tests.library import domain as library
from tests.support.place import Place
from tests.support.programs import program

ROOT = Path(__file__).parents[2]
TRACED = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
"""Nobody listens there: spans are made, and lost."""


class Deaf(Job):
    kind = "deaf"
    lane = "deaf"
    timeout = timedelta(milliseconds=100)
    retry = RetryPolicy(attempts=1)


async def deaf(_: JobContext, __: Deaf) -> None:
    while True:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(86_400)


domain = replace(library, lanes=(Lane("deaf"),), handlers={Deaf: deaf}, migrations=None)


@pytest.fixture
async def stoker(place: Place) -> AsyncIterator[Stoker]:
    async with Stoker.opened(place.settings(), domain) as stoker:
        yield stoker


@pytest.mark.parametrize("traced", [False, True])
async def test_a_handler_that_is_left_behind_is_told_of_once(
    stoker: Stoker, place: Place, tmp_path: Path, *, traced: bool
) -> None:
    await stoker.enqueue(Deaf())
    variables = TRACED if traced else {}
    variables = {
        **variables,
        **place.environment(),
        "STOKER__DOMAIN": f"{__name__}:domain",
        "PYTHONPATH": str(ROOT),
    }
    async with program(tmp_path, "stoker", "run", **variables) as worker:
        await worker.until("engine.task_ignores_cancellation")
        worker.process.terminate()
        assert await worker.ended() == 0
    [after] = [n for n, line in enumerate(worker.lines) if "engine.task_ignores_cancellation" in line]
    said = "".join(worker.lines[after + 1 :])
    assert "worker.stopped" in said
    assert not re.search("Exception ignored|detach context|Logging error", said)
