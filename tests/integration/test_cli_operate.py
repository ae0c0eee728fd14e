"""The command line on real servers, as real processes."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from redis import ConnectionError as NoConnection
from redis import Redis
from sqlalchemy import create_engine, make_url, text

from stoker import embedded
from stoker.embedded.process import wait_until
from tests.integration.cli import LONGEST_S, call, running, spawn

WORKER_READY, UP_READY = "worker.started", "Ctrl-C stops everything"


@pytest.fixture
def environment(
    database_url: str, queue_url: str, cache_url: str, prefix: str, tmp_path: Path
) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("STOKER__")}
    own = {
        "DATABASE_URL": database_url,
        "REDIS_URL": queue_url,
        "CACHE_REDIS_URL": cache_url,
        "STOKER__QUEUE__PREFIX": prefix,
        "STOKER__CACHE__PREFIX": prefix,
        "ENABLE_BACKGROUND_WARMING": "false",
        "HOME": str(tmp_path),
    }
    return {**inherited, **own}


def test_a_recorded_invalidation_is_applied_by_a_worker_that_stops_in_order(
    environment: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kind = "project"
    with running(tmp_path, environment, "run", ready=WORKER_READY) as worker:
        done = call(tmp_path, environment, "invalidate", kind, "1", "--hard", capture=capsys)
        assert (done.returncode, done.stdout) == (0, f"{kind}:1 is invalidated\n")
        worker.send_signal(signal.SIGTERM)
        said, _ = worker.communicate(timeout=LONGEST_S)
    assert worker.returncode == 0
    assert "worker.stopped" in said
    engine = create_engine(make_url(environment["DATABASE_URL"]).set(drivername="postgresql+psycopg"))
    with engine.connect() as connection:
        ((actor, arguments),) = connection.execute(
            text("SELECT actor, arguments FROM stoker.audit_log")
        ).all()
    engine.dispose()
    assert actor.startswith("cli")
    assert arguments == {"scope": f"{kind}:1", "views": [], "hard": True}


def test_without_a_worker_an_invalidation_is_recorded_and_said_to_wait(
    environment: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = call(tmp_path, environment, "invalidate", "project", "1", "--wait", "0.2", capture=capsys)
    assert done.returncode == 1
    assert done.stderr.endswith("s: no worker reports: start one, or read its log\n")
    shown = call(tmp_path, environment, "status", "--json", capture=capsys)
    assert shown.returncode == 1, "no worker runs"
    status = json.loads(shown.stdout)
    assert status["changes"]["unsettled"] == 1
    assert status["health"]["ok"] is True
    assert [concern["says"] for concern in status["concerns"] if concern["verdict"] == "wrong"] == [
        "no worker reports: start one, or read its log"
    ]
    assert set(status["lanes"]) == {"changes", "refresh", "warm", "files"}


def test_an_invalidation_that_waits_for_the_cache_says_so(
    environment: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    away = {**environment, "CACHE_REDIS_URL": "redis://127.0.0.1:1"}
    done = call(tmp_path, away, "invalidate", "project", "1", "--wait", "0.1", capture=capsys)
    assert done.returncode == 1
    assert "not applied within 0.1 s: the cache Redis (127.0.0.1:1) does not answer; " in done.stderr


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["invalidate", "planet", "1"], "no scope kind 'planet'"),
        (["invalidate", "project", "1x"], "project id '1x'"),
        (["invalidate", "project", "1", "--view", "nothing"], "no view 'nothing'"),
        (["warm", "planet", "1"], "nothing to warm for 'planet'"),
        (["warm", "project"], "needs the id"),
    ],
)
def test_what_the_domain_does_not_know_is_a_usage_error(
    environment: dict[str, str],
    tmp_path: Path,
    command: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    done = call(tmp_path, environment, *command, capture=capsys)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_sample_data_is_warmed_with_progress(
    environment: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filled = call(tmp_path, environment, "sample-data", "--users", "20", capture=capsys)
    assert filled.returncode == 0, filled.stderr
    assert "loaded 20 users" in filled.stderr
    again = call(tmp_path, environment, "sample-data", capture=capsys)
    assert (again.returncode, "not empty" in again.stderr) == (1, True)
    with running(tmp_path, environment, "run", ready=WORKER_READY):
        done = call(tmp_path, environment, "warm", "user", "1", capture=capsys)
        nobody = call(tmp_path, environment, "warm", "user", "999", capture=capsys)
        assert call(tmp_path, environment, "status", capture=capsys).returncode == 0
    assert (nobody.returncode, nobody.stdout) == (1, "warmed 0 entries\n")
    assert nobody.stderr.endswith("error: user 999 does not exist: there is nothing to warm for it\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("warmed ")
    assert "warming: " in done.stderr


def test_a_warming_nobody_does_ends_with_its_timeout(
    environment: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = call(tmp_path, environment, "warm", "--timeout", "0.2", capture=capsys)
    assert (done.returncode, "it continues as" in done.stderr) == (1, True)


def test_a_sound_installation_has_no_errors(
    environment: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = call(tmp_path, environment, "check", capture=capsys)
    assert done.returncode == 0, done.stdout
    assert "error" not in done.stdout


def test_a_queue_that_evicts_is_refused(
    environment: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evicting = {**environment, "REDIS_URL": environment["CACHE_REDIS_URL"]}
    checked = call(tmp_path, evicting, "check", capture=capsys)
    assert (checked.returncode, "error: the queue Redis has maxmemory-policy" in checked.stdout) == (1, True)
    run = call(tmp_path, evicting, "run", capture=capsys)
    assert (run.returncode, "it may evict jobs" in run.stderr) == (1, True)
    allowed = {**evicting, "STOKER__QUEUE__ALLOW_EVICTION": "true"}
    warned = call(tmp_path, allowed, "check", capture=capsys)
    assert (warned.returncode, "warning: the queue Redis has maxmemory-policy" in warned.stdout) == (0, True)


def test_nothing_starts_before_the_migrations(
    environment: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = make_url(environment["DATABASE_URL"]).set(drivername="postgresql+psycopg")
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public, stoker CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()
    for command in (["run"], ["api", "--port", "0"]):
        done = call(tmp_path, environment, *command, capture=capsys)
        assert done.returncode == 1
        assert "run: stoker migrate" in done.stderr
    first = call(tmp_path, environment, "migrate", "--only", "stoker", capture=capsys)
    assert first.stdout == "applied stoker: 0001\n"
    call(tmp_path, environment, "migrate", capture=capsys)
    assert call(tmp_path, environment, "migrate", capture=capsys).stdout == "nothing to apply\n"
    assert call(tmp_path, environment, "check", capture=capsys).returncode == 0


def test_log_lines_are_json_where_the_setting_says_so(environment: dict[str, str], tmp_path: Path) -> None:
    json_lines = {**environment, "STOKER__LOG__FORMAT": "json"}
    with running(tmp_path, json_lines, "run", ready=WORKER_READY) as worker:
        worker.send_signal(signal.SIGINT)
        said, _ = worker.communicate(timeout=LONGEST_S)
    events = [json.loads(line)["event"] for line in said.splitlines()]
    assert events[-1] == "worker.stopped"


def answers(server: Redis) -> bool:
    try:
        return bool(server.ping())
    except NoConnection:
        return False


def test_up_brings_everything_restarts_a_server_that_ended_and_ctrl_c_takes_it_away(tmp_path: Path) -> None:
    plain = {
        name: value for name, value in os.environ.items() if not name.endswith(("REDIS_URL", "DATABASE_URL"))
    }
    arguments = ("up", "--port", "0", "--no-sample-data")
    with running(tmp_path, plain, *arguments, ready=UP_READY) as up:
        status = spawn(tmp_path, plain, "status", "--embedded", "--json")
        assert json.loads(status.stdout)["health"]["ok"] is True
        urls = embedded.find(tmp_path / ".data")
        assert urls is not None
        assert up.stdout is not None
        with Redis.from_url(urls.cache) as cache:
            os.kill(cache.info("server")["process_id"], signal.SIGKILL)
            line = next(line for line in up.stdout if "has ended" in line)
            assert "cache has ended (signal 9): starting it again" in line
            assert wait_until(lambda: answers(cache), LONGEST_S)
        up.send_signal(signal.SIGINT)
        said, _ = up.communicate(timeout=LONGEST_S)
    assert up.returncode == 0
    assert said.splitlines()[-1] == "stopping the servers"
    assert embedded.find(tmp_path / ".data") is None
    with running(tmp_path, plain, *arguments, ready="starting Postgres") as again:
        assert again.stdout is not None
        told = []
        for line in again.stdout:
            told.append(line)
            if WORKER_READY in line:
                again.send_signal(signal.SIGINT)
    warnings = [line for line in told if "warning" in line]
    assert told[-1] == "stopping the servers\n"
    assert not warnings, "an embedded cache that was started again is not another cache"
