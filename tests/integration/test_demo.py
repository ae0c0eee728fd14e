"""The demonstration as a whole: short, on the servers of the tests, each process its own.

Floors are absolute, so a short run misses them and exits with 1; what counts here is what else is wrong.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sqlalchemy import NullPool, create_engine, make_url, text

from stoker.chaos.driver import Driver
from stoker.chaos.slots import WORKER_READY, Slot, started
from stoker.chaos.stage import Place, administer, database_of_its_own
from stoker.chaos.tally import Tally
from stoker.embedded import Urls
from tests.support.projects_world import opened_world, settings
from worker.demo import DemoOptions, run
from worker.demo.demonstration import WEBAPP_ARGUMENTS, WEBAPP_READY
from worker.demo.scale import environment_of
from worker.demo.workload import workload

UNGUARDED = Path(__file__).parents[1] / "support" / "webapp_without_stamps.py"
KEYS = """
reads writes events_recorded events_applied entries_verified stale_entries reads_checked stale_reads
forbidden_reads_attempted forbidden_reads_served hit_rate read_ms change_to_applied_ms jobs time_scale rate
seconds floors failures
"""
VIEWS = {"dashboard", "detail", "export", "list", "search", "stats"}


@pytest.fixture
def given_servers(server_urls: Urls, monkeypatch: pytest.MonkeyPatch) -> Iterator[Urls]:
    """The demonstration finds the servers of the tests in its environment, and leaves nothing on them."""
    monkeypatch.setenv("DATABASE_URL", server_urls.database)
    monkeypatch.setenv("REDIS_URL", server_urls.queue)
    monkeypatch.setenv("CACHE_REDIS_URL", server_urls.cache)
    yield server_urls
    assert databases(server_urls) == []


def databases(urls: Urls) -> list[str]:
    """Databases of demonstrations that are still there."""
    url = make_url(urls.database).set(drivername="postgresql+psycopg")
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        found = connection.execute(
            text("SELECT datname FROM pg_database WHERE datname LIKE 'stoker_demo_%'")
        ).scalars()
        return [str(name) for name in found]


def short(folder: Path, **more: Any) -> DemoOptions:  # noqa: ANN401 - any option
    return DemoOptions(
        **{"seconds": 8, "users": 40, "rate": 60, "data_dir": folder, "json": folder / "demo.json", **more}
    )


@pytest.mark.usefixtures("given_servers")
@pytest.mark.long
def test_a_short_run_finds_nothing_wrong(tmp_path: Path) -> None:
    code = run(short(tmp_path))
    found = json.loads((tmp_path / "demo.json").read_text())
    assert found["wrong"] == []
    assert all(line.startswith("floor missed") for line in found["failures"])
    assert code == (1 if found["failures"] else 0)
    assert found.keys() >= set(KEYS.split())
    assert found["stale_reads"] == found["stale_entries"] == found["forbidden_reads_served"] == 0
    assert found["reads_checked"] == found["reads"] > 300
    assert found["reads_of_changed"] > 0
    assert found["events_recorded"] == found["events_applied"] >= found["writes"] > 0
    assert found["entries_verified"] > 0
    assert found["forbidden_reads_attempted"] > 0
    assert found["hit_rate"].keys() == found["read_ms"].keys() == VIEWS
    assert found["jobs"].keys() == {"changes", "refresh", "warm", "files"}
    assert found["exports_requested"] == found["exports_delivered"]
    assert [path.name for path in tmp_path.iterdir()] == ["demo.json"]


@pytest.mark.parametrize("guarded", [True, False])
async def test_a_stale_and_a_forbidden_answer_are_noticed(
    database_url: str, server_urls: Urls, prefix: str, tmp_path: Path, *, guarded: bool
) -> None:
    """What users do, one after the other, on a web app with and without the comparison of stamps."""
    place = settings(database_url, server_urls, prefix)
    command = (sys.executable, "-m", "uvicorn", "worker.demo.webapp:app")
    unguarded = (sys.executable, str(UNGUARDED))
    # The worker would soon put a new value in the stale one's place, or remove it: the reader is tested.
    environment = {**environment_of(place), "STOKER__CHANGES__REFRESH_HOT": "false"}
    run = (sys.executable, "-m", "worker", "run", "--lanes", "changes")
    worker = Slot("worker", run, environment, tmp_path, WORKER_READY)
    arguments = (*(command if guarded else unguarded), *WEBAPP_ARGUMENTS)
    webapp = Slot("webapp", arguments, environment, tmp_path, WEBAPP_READY)
    async with opened_world(place) as known, started(worker, webapp):
        await worker.ready()
        webapp.client.address = int(await webapp.ready())
        users = await workload.users(known.stoker, Random(1))
        driver = Driver([webapp], users, Tally(), Random(1))
        project = users.world.projects[known.alpha]
        dashboard = users.traffic.read_of_project("dashboard", project, known.ann)
        while (
            "dashboard",
            "hit",
        ) not in driver.tally.ms:  # a process that has just started may bypass the cache
            await driver.read(dashboard)
        await users.edits.update_project(driver, project, 0)
        await driver.read(dashboard)
        await users.edits.remove_member(driver, project, 0)
    tally = driver.tally
    assert (tally.writes, tally.writes_waited_for, tally.revocations) == (2, 2, 1)
    assert (tally.stale_reads > 0, tally.forbidden_reads_served > 0) == (not guarded, not guarded)
    assert tally.forbidden_reads_attempted == 3
    assert set(tally.wrong) == (set() if guarded else {"stale read", "forbidden read served"})


@pytest.mark.usefixtures("given_servers")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    code = (
        "import pathlib, sys; from worker.demo import DemoOptions, run;"
        f" sys.exit(run(DemoOptions(seconds=60, users=5, rate=5, data_dir=pathlib.Path({str(tmp_path)!r}))))"
    )
    with subprocess.Popen(  # noqa: S603 - the code above
        [sys.executable, "-c", code], env=os.environ, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        assert any(line.startswith("web app: ") for line in lines)
        children = children_of(process.pid)
        assert len(children) == 2
        process.send_signal(number)
        assert "interrupted: everything is stopped" in process.stdout.read()
    assert process.returncode == 130
    assert not any(Path(f"/proc/{child}").exists() for child in children)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("given_servers")
def test_a_worker_that_does_not_start_is_named_with_its_last_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    silent = (sys.executable, "-c", "raise SystemExit('no work today')")
    assert run(short(tmp_path, users=5, worker_command=silent)) == 1
    said = capsys.readouterr().out
    assert "the worker ended with 1" in said
    assert "no work today" in said


def children_of(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in found.split()]


async def test_what_broke_a_demonstration_is_not_hidden_by_its_cleaning_up(
    server_urls: Urls, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Guard: `cleaning`. The database is gone already, as if its server were."""
    full = OSError(errno.ENOSPC, "No space left on device")

    place = Place("demo", tmp_path, tmp_path, server_urls, None, keep=False)

    async def broken() -> None:
        async with database_of_its_own(place) as url:
            await administer(server_urls.database, f'DROP DATABASE "{make_url(url).database}"')
            raise full

    with pytest.raises(OSError, match="No space left") as raised:
        await broken()
    assert raised.value is full
    assert "demo.left_behind" in caplog.messages


def test_a_demonstration_without_room_says_so_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert run(DemoOptions(data_dir=tmp_path / "file" / "data")) == 1
    said = capsys.readouterr()
    assert "the demonstration could not run" in said.out + said.err
