"""The page about an application's own jobs, tried as a reader would: its code as it stands there."""

from __future__ import annotations

import asyncio
import re
import sys
import textwrap
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from sqlalchemy import text

from stoker import Stoker
from stoker.handlers import own, threads
from stoker.handlers.run import HANDLERS
from stoker.queue import batches, packing
from stoker.queue.answers import CancelAnswer
from stoker.queue.progress import JobState
from stoker.worker.engine import verdict
from stoker.worker.process import run_worker
from tests.support.place import Place

PAGE = (Path(__file__).parents[2] / "docs" / "jobs.md").read_text()
DECLARED, ENQUEUED, IN_TRANSACTION, BATCH, FAIR = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def shop() -> Iterator[dict[str, Any]]:
    module = sys.modules["shop_of_the_page"] = ModuleType("shop_of_the_page")
    exec(DECLARED, vars(module))  # noqa: S102 - our own page
    yield vars(module)
    del sys.modules["shop_of_the_page"]


async def run_block(block: str, shop: dict[str, Any], stoker: Stoker) -> dict[str, Any]:
    """The names that a block has made at its end."""
    exec(f"async def block(stoker):\n{textwrap.indent(block, '    ')}    return locals()", shop)  # noqa: S102 - the same
    found: dict[str, Any] = await shop["block"](stoker)
    return found


async def test_the_code_of_the_page_declares_enqueues_and_runs(place: Place, shop: dict[str, Any]) -> None:
    settings = place.settings(schedule={"enable_background_warming": False})
    async with AsyncExitStack() as stack:
        stoker = await stack.enter_async_context(Stoker.opened(settings, shop["domain"]))
        async with stoker.session() as session, session.begin():
            await session.execute(text("CREATE TABLE orders (id bigint PRIMARY KEY, total bigint)"))
            await session.execute(text("INSERT INTO orders VALUES (7, 10), (8, 5)"))
        stop = asyncio.Event()
        worker = asyncio.create_task(run_worker(stoker, settings, stop))
        try:
            asked = await run_block(ENQUEUED, shop, stoker)
            requested = await run_block(IN_TRANSACTION, shop, stoker)
            together = await run_block(BATCH, shop, stoker)
        finally:
            stop.set()
            await worker
    assert asked["found"] == {"orders": 2, "total": 15}
    assert (asked["report"].state, asked["report"].done) == (JobState.DONE, 2)
    assert len({one.job_id for one in asked["many"]}) == 100
    assert asked["answer"] is CancelAnswer.CANCELLED
    assert requested["invoice"] == {"file": "9.txt"}
    assert together["report"] == {"written": 3, "failed": 0}
    assert (together["found"].done, together["found"].ended_at is not None) == (3, True)


def test_the_figures_of_the_page_are_those_of_the_code() -> None:
    assert f"At {threads.MOST_LEFT} of them" in PAGE
    assert f"each {packing.JOBS_PER_CALL} jobs or {packing.BYTES_PER_CALL // 1_000_000} MB" in PAGE.replace(
        "for each", "each"
    )
    assert own.LARGEST_RESULT == 1_000_000
    assert f"{batches.MOST_MEMBERS:,} jobs in a batch" in PAGE
    assert verdict.RESCUES_ALLOWED == 3
    lanes = ", ".join(f"`{lane}`" for lane in sorted({str(job.lane) for job in HANDLERS}))
    assert f"own lanes ({lanes})" in PAGE


def test_the_job_with_a_fair_key_is_one(shop: dict[str, Any]) -> None:
    exec(FAIR, shop)  # noqa: S102 - the same
    assert shop["SendDigest"](tenant="7").fair_key() == "7"
