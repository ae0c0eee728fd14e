"""The servers as they run: configured for their roles, restarted and killed at the same URL."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from redis import Redis
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

from stoker import embedded
from tests.integration.embedded.folders import libpq, sql


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[embedded.Embedded]:
    with embedded.start(tmp_path_factory.mktemp("embedded"), durable=False) as started:
        yield started


@pytest.fixture
def queue(running: embedded.Embedded) -> Iterator[Redis]:
    with Redis.from_url(running.urls.queue) as client:
        yield client


def test_each_test_gets_a_database_and_a_prefix_of_its_own(database_url: str, prefix: str) -> None:
    name = make_url(database_url).database
    libpq = make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(libpq) as connection:
        assert connection.execute("SELECT current_database()").fetchone() == (name,)
    assert prefix.startswith("t-")


async def test_sqlalchemy_connects_with_the_url_and_with_another_driver_in_it(
    running: embedded.Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPORT", "1")  # drivers read it when the URL names no port
    engine = create_async_engine(running.urls.database)
    async with engine.connect() as connection:
        assert (await connection.scalar(text("SELECT current_database()"))) == "stoker"
    await engine.dispose()
    sync = create_engine(running.urls.database.replace("+asyncpg", "+psycopg"))
    with sync.connect() as connection_of_psycopg:
        assert connection_of_psycopg.scalar(text("SHOW max_connections")) == "200"
    sync.dispose()


def test_the_queue_keeps_everything_and_the_cache_may_evict(running: embedded.Embedded) -> None:
    with Redis.from_url(running.urls.queue) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("appendonly") == {"appendonly": "yes"}
    with Redis.from_url(running.urls.cache) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "allkeys-lfu"}
        assert client.config_get("maxmemory") == {"maxmemory": str(256 * 1024 * 1024)}
        assert client.config_get("appendonly") == {"appendonly": "no"}
        assert client.config_get("save") == {"save": ""}


def test_text_is_folded_in_every_script_and_sorted_by_code_point(running: embedded.Embedded) -> None:
    assert sql(running.urls, "SELECT lower('ÄΩ'), 'a' > 'B'") == [("äω", True)]


def test_durable_servers_flush_and_those_of_tests_do_not(running: embedded.Embedded, tmp_path: Path) -> None:
    assert sql(running.urls, "SHOW fsync") == [("off",)]
    with embedded.start(tmp_path) as durable:
        assert sql(durable.urls, "SHOW fsync") == [("on",)]
        assert sql(durable.urls, "SHOW full_page_writes") == [("on",)]


def test_the_queue_keeps_its_data_across_a_kill(running: embedded.Embedded, queue: Redis) -> None:
    queue.set("kept", "yes")
    running.queue.kill()
    running.queue.start()
    assert queue.get("kept") == b"yes"
    running.queue.restart(lose_data=True)
    assert queue.get("kept") is None


def test_postgres_keeps_its_data_across_a_kill_with_a_busy_session(running: embedded.Embedded) -> None:
    sql(running.urls, "CREATE TABLE kept AS SELECT 1 AS one")
    with closing(psycopg.connect(libpq(running.urls))) as busy:
        busy.execute("SELECT 1")
        os.kill(running.postgres.pid, signal.SIGKILL)  # its session is still there for a moment
        running.postgres.kill()
        running.postgres.start()
    assert sql(running.urls, "SELECT one FROM kept") == [(1,)]
    running.postgres.restart(lose_data=True)
    assert sql(running.urls, "SELECT to_regclass('kept')") == [(None,)]


@pytest.mark.parametrize("name", ["queue", "cache", "postgres"])
def test_a_restarted_server_is_another_process_at_the_same_url(running: embedded.Embedded, name: str) -> None:
    server: embedded.Server = getattr(running, name)
    before, urls = server.pid, running.urls
    server.restart()
    assert server.pid != before
    assert running.urls == urls
    assert sql(urls, "SELECT 1") == [(1,)]
    with Redis.from_url(urls.queue) as queue, Redis.from_url(urls.cache) as cache:
        assert queue.ping()
        assert cache.ping()


def test_a_server_outlives_the_thread_that_restarted_it(running: embedded.Embedded) -> None:
    thread = threading.Thread(target=running.cache.restart)
    thread.start()
    thread.join()
    with Redis.from_url(running.urls.cache) as client:
        assert client.info("server")["process_id"] == running.cache.pid


async def test_a_paused_server_stops_and_starts_inside_an_event_loop(running: embedded.Embedded) -> None:
    os.kill(running.postgres.pid, signal.SIGSTOP)
    await asyncio.to_thread(running.postgres.restart)
    running.postgres.restart()  # in the loop's own thread, too
    assert sql(running.urls, "SELECT 1") == [(1,)]


def test_a_stale_pid_file_that_names_a_living_process_does_not_stop_postgres(
    running: embedded.Embedded,
) -> None:
    data = Path(str(sql(running.urls, "SHOW data_directory")[0][0]))
    text_of_the_living = (data / "postmaster.pid").read_text().split("\n", 1)[1]
    running.postgres.stop()
    (data / "postmaster.pid").write_text(f"{os.getpid()}\n{text_of_the_living}")
    running.postgres.start()
    assert sql(running.urls, "SELECT 1") == [(1,)]
