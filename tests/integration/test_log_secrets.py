"""No log line holds a secret or a payload; lines of a job carry its id."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.engine import Engine

from stoker.queue import wire
from tests.integration.cli import LONGEST_S, call

SECRET = "canary-secret-5d41402a"  # noqa: S105 - a canary
PAYLOAD = "canary-payload-7d793037"
KIND = "project"


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    made = create_engine(make_url(database_url).set(drivername="postgresql+psycopg"))
    yield made
    made.dispose()


@pytest.fixture
def environment(database_url: str, queue_url: str, prefix: str, tmp_path: Path) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("STOKER__")}
    return {
        **inherited,
        "DATABASE_URL": with_password(database_url),
        "REDIS_URL": queue_url,
        # Nobody listens there: the outage is logged, with its address and without its password.
        "CACHE_REDIS_URL": f"redis://canary:{SECRET}@127.0.0.1:1/0",
        "STOKER__DOMAIN": "jobs",
        "STOKER__QUEUE__PREFIX": prefix,
        "STOKER__CACHE__PREFIX": prefix,
        "STOKER__LOG__FORMAT": "json",
        "STOKER__LOG__LEVEL": "debug",
        "STOKER__API__TOKENS": json.dumps([{"name": "ops", "role": "operator", "token": SECRET}]),
        "ENABLE_BACKGROUND_WARMING": "false",
        "HOME": str(tmp_path),
    }


def with_password(url: str) -> str:
    """The same database: a server that trusts its socket or this machine asks for none, and takes any."""
    return make_url(url).set(password=SECRET).render_as_string(hide_password=False)


def said_until(where: Path, environment: dict[str, str], awaited: tuple[str, ...]) -> str:
    """All that a worker logs until it has said these things and was stopped."""
    log = where / "log"
    with log.open("w") as written:
        worker = subprocess.Popen(
            [sys.executable, "-m", "stoker", "run"],
            cwd=where,
            env=environment,
            stdout=written,
            stderr=subprocess.STDOUT,
        )
    give_up = time.monotonic() + LONGEST_S
    try:
        while not all(one in log.read_text() for one in awaited):
            assert worker.poll() is None, log.read_text()
            assert time.monotonic() < give_up, log.read_text()
            time.sleep(0.05)  # a log file has nothing to wait on
        worker.send_signal(signal.SIGTERM)
        worker.wait(LONGEST_S)
    finally:
        worker.kill()
        worker.wait()
    return log.read_text()


def test_a_worker_under_trouble_writes_neither_secrets_nor_payloads(
    environment: dict[str, str], engine: Engine, queue_url: str, prefix: str, tmp_path: Path
) -> None:
    import redis  # noqa: PLC0415 - a plain client, as a stranger would use

    broken = [
        {"kind": "unknown", "payload": json.dumps({"note": PAYLOAD}), "scopes": "[1]"},
        # Its rule cannot read it.
        {"kind": f"{KIND}_changed", "payload": json.dumps({f"{KIND}_id": PAYLOAD}), "scopes": "[]"},
    ]
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO stoker.cache_events (kind, payload, scopes)"
                " VALUES (:kind, CAST(:payload AS jsonb), CAST(:scopes AS jsonb))"
            ),
            broken,
        )
    queue = redis.Redis.from_url(queue_url)
    jobs = {
        "unknown": {"f": "later.v9", "a": [{"note": PAYLOAD}]},
        "wrong": {"f": "refresh.v1", "a": [{"view": PAYLOAD, "scope_id": PAYLOAD, "note": PAYLOAD}]},
        "foreign": {
            "f": "refresh.v1",
            "a": [{"view": "search", "scope_id": "1", "params": json.dumps(PAYLOAD)}],
        },
    }
    for job_id, job in jobs.items():
        payload = wire.serialize({"t": None, "k": {}, "et": 1, **job})
        queue.set(f"arq:job:{prefix}-{job_id}", payload)
        queue.zadd(f"{prefix}:refresh", {f"{prefix}-{job_id}": 1})
    queue.close()
    awaited = ("engine.job_dead", "validation error")
    written = said_until(tmp_path, environment, awaited)
    assert SECRET not in written
    assert PAYLOAD not in written
    lines = [json.loads(line) for line in written.splitlines()]
    about_jobs = [line for line in lines if line["event"].startswith("engine.job_")]
    assert all(line["job_id"] for line in about_jobs)
    assert f"{prefix}-wrong" in {line["job_id"] for line in about_jobs}


def test_the_commands_do_not_say_them_either(
    environment: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (["status"], ["check"], ["cache", "show", KIND, "1"], ["api", "--port", "99999"]):
        done = call(tmp_path, environment, *command, capture=capsys)
        assert SECRET not in done.stdout + done.stderr, command
