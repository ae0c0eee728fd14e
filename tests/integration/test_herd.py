"""Many readers of one cold key at once (RACES 11)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from sqlalchemy import create_engine, make_url, text

from tests.support.notes import SCHEMA

ROOT = Path(__file__).parents[2]
PROCESSES, READERS = 4, 250
LONGEST_S = 180


def test_a_thousand_readers_in_four_processes_load_a_cold_key_once(
    database_url: str, queue_url: str, cache_url: str, prefix: str
) -> None:
    _write_note(database_url)
    environment = {
        **os.environ,
        "DATABASE_URL": database_url,
        "REDIS_URL": queue_url,
        "CACHE_REDIS_URL": cache_url,
        "STOKER__CACHE__PREFIX": prefix,
        # As long as it takes on a busy machine: losers must wait, not load.
        "STOKER__CACHE__LEASE_WAIT_S": "30",
        "STOKER__CACHE__TIMEOUT_S": "10",
    }
    processes = [
        subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", "tests.support.herd_reader", str(READERS)],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(PROCESSES)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        said = [process.communicate(timeout=LONGEST_S)[0].split() for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert [process.returncode for process in processes] == [0] * PROCESSES
    assert sum(int(detail) for detail, _ in said) == 1
    assert sum(int(access) for _, access in said) == 1


def _write_note(database_url: str) -> None:
    engine = create_engine(make_url(database_url).set(drivername="postgresql+psycopg"))
    with engine.begin() as connection:
        for statement in SCHEMA:
            connection.execute(text(statement))
        connection.execute(text("INSERT INTO notes VALUES (1, 'v1')"))
        connection.execute(text("INSERT INTO note_members VALUES (1, 7)"))
    engine.dispose()
