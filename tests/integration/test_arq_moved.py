"""An application of 30 functions and 10 cron jobs moves over: one line, its clients as they were."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from arq.connections import ArqRedis, RedisSettings, create_pool
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from stoker.domain import load_domain
from tests.integration.cli import call, spawn
from tests.support.place import Place

FUNCTIONS, CRONS = 30, 10
WAIT_S = 60

SETTINGS = '''"""An application as arq runs it: nothing here knows Stoker."""

import pickle

from arq import cron
from arq.connections import RedisSettings


async def startup(ctx):
    ctx["rates"] = {{"EUR": 2}}


{functions}


{crons}


class WorkerSettings:
    functions = [{names}]
    cron_jobs = [{entries}]
    queue_name = "{queue}"
    redis_settings = RedisSettings.from_dsn("{url}")
    on_startup = startup
    job_serializer = pickle.dumps
    job_deserializer = pickle.loads
'''
FUNCTION = """async def task_{number}(ctx, amount, *, plus=0):
    return ("task_{number}", amount * ctx["rates"]["EUR"] + plus, ctx["job_try"])"""
CRON = """async def nightly_{number}(ctx):
    await ctx["redis"].rpush("{queue}:nights", {number})"""
ENTRY = "cron(nightly_{number}, hour={number}, minute=0, run_at_startup={startup})"
MOVED = """from application import WorkerSettings

from stoker import Domain

domain = Domain(name="moved", arq=WorkerSettings)
"""


@pytest.fixture
def moved(tmp_path: Path, place: Place) -> Iterator[Path]:
    """The folder of the application, with the one line that moves it."""
    queue = f"{place.prefix}:jobs"
    settings = SETTINGS.format(
        functions="\n\n\n".join(FUNCTION.format(number=one) for one in range(FUNCTIONS)),
        crons="\n\n\n".join(CRON.format(number=one, queue=queue) for one in range(CRONS)),
        names=", ".join(f"task_{one}" for one in range(FUNCTIONS)),
        entries=", ".join(ENTRY.format(number=one, startup=one == 0) for one in range(CRONS)),
        queue=queue,
        url=place.queue_url,
    )
    (tmp_path / "application.py").write_text(settings)
    (tmp_path / "moved.py").write_text(MOVED)
    yield tmp_path
    for name in ("application", "moved"):  # the next test has another one by the same name
        sys.modules.pop(name, None)


async def client_of(place: Place) -> ArqRedis:
    """The client of the application's web process: arq's own, with arq's own pickles."""
    settings = RedisSettings.from_dsn(place.queue_url)
    return await create_pool(settings, default_queue_name=f"{place.prefix}:jobs")


async def test_thirty_functions_and_ten_cron_jobs_run_after_one_line(
    moved: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await client_of(place)
    jobs = [await client.enqueue_job(f"task_{one}", one, plus=1) for one in range(FUNCTIONS)]
    environment = {**place.environment(), "STOKER__DOMAIN": "moved"}
    done = await asyncio.to_thread(spawn, moved, environment, "arq", "--burst")
    assert done.returncode == 0, done.stderr
    for number, job in enumerate(jobs):
        assert job is not None
        assert await job.result(0) == (f"task_{number}", 2 * number + 1, 1)
    assert await client.lrange(f"{place.prefix}:jobs:nights", 0, -1) == [b"0"], "run_at_startup"  # type: ignore[misc]
    monkeypatch.syspath_prepend(str(moved))
    names = [one.name for one in load_domain("moved").whole_schedule]
    assert [name for name in names if name.startswith("cron_")] == [
        f"cron_nightly_{one}" for one in range(CRONS)
    ]
    await client.aclose(close_connection_pool=True)


def test_the_health_check_fails_where_no_worker_is_there(
    moved: Path, place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(moved))
    environment = {**place.environment(), "STOKER__DOMAIN": "moved"}
    done = call(moved, environment, "arq", "--check", capture=capsys)
    assert done.returncode == 1
    assert f"no worker has written {place.prefix}:jobs:health-check lately" in done.stderr


def test_a_domain_without_an_arq_application_says_what_to_write(
    tmp_path: Path, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    done = call(tmp_path, place.environment(), "arq", "--check", capture=capsys)
    assert done.returncode == 2
    assert "Domain(arq=WorkerSettings)" in done.stderr


async def test_a_burst_ends_with_a_failed_job_for_a_function_that_it_does_not_have(
    moved: Path, place: Place
) -> None:
    client = await client_of(place)
    job = await client.enqueue_job("task_of_tomorrow")
    environment = {**place.environment(), "STOKER__DOMAIN": "moved"}
    done = await asyncio.to_thread(spawn, moved, environment, "arq", "--burst")
    assert done.returncode == 0, done.stderr
    assert job is not None
    info = await job.result_info()
    assert info is not None
    assert str(info.result) == "function 'task_of_tomorrow' not found"
    engine = create_async_engine(place.database_url)
    async with engine.connect() as connection:
        assert await connection.scalar(text("SELECT kind FROM stoker.dead_jobs")) == "task_of_tomorrow"
    await engine.dispose()
    await client.aclose(close_connection_pool=True)
