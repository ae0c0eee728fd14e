"""The servers that Stoker runs itself: they come up, come back, and never outlive their owner."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from shutil import rmtree
from urllib.parse import urlsplit

import psycopg
import pytest
from redis import Redis
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

from worker import embedded
from worker.embedded import binaries, identity, servers
from worker.embedded.folder import Ownership, Places, State
from worker.embedded.identity import Identity
from worker.embedded.process import LAUNCHER, Identified, wait_until

DEADLINE_S = 90.0
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")

OWNER = """
import json, os, sys
from dataclasses import asdict
from pathlib import Path
from worker import embedded
running = embedded.start(Path(sys.argv[1]), durable=False)
pids = [running.queue.pid, running.cache.pid, running.postgres.pid]
print(json.dumps({"urls": asdict(running.urls), "pids": pids, "uid": os.geteuid()}), flush=True)
sys.stdin.read()
running.stop()
"""


class Owner:
    """Another process that has started the servers of a folder."""

    def __init__(self, folder: Path, *launcher: str | Path) -> None:
        command = [*launcher, sys.executable, "-c", OWNER, folder]
        self.process = subprocess.Popen(  # noqa: S603  # our own script
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self.process.stdout
        told = json.loads(self.process.stdout.readline())
        self.pid = self.process.pid
        self.uid: int = told["uid"]
        self.urls = embedded.Urls(**told["urls"])
        self.servers = [Identified.of(pid) for pid in told["pids"]]
        self.servers += [Identified.of(pid) for server in told["pids"] for pid in _children(server)]

    def leaves_nothing(self) -> bool:
        return wait_until(lambda: not any(server.is_alive() for server in self.servers), DEADLINE_S)


@contextmanager
def owner_of(folder: Path, *launcher: str | Path) -> Iterator[Owner]:
    owner = Owner(folder, *launcher)
    with owner.process:
        try:
            yield owner
        finally:
            owner.process.kill()
            owner.process.wait()
            rmtree(Path(urlsplit(owner.urls.queue).path).parent, ignore_errors=True)


def _launcher(user: Identity) -> tuple[str | Path, ...]:
    return sys.executable, LAUNCHER, str(os.getpid()), str(int(signal.SIGKILL)), user


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[embedded.Embedded]:
    with embedded.start(tmp_path_factory.mktemp("embedded"), durable=False) as started:
        yield started


@pytest.fixture
def queue(running: embedded.Embedded) -> Iterator[Redis]:
    with Redis.from_url(running.urls.queue) as client:
        yield client


def sql(urls: embedded.Urls, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(_libpq(urls), autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def _libpq(urls: embedded.Urls) -> str:
    return make_url(urls.database).set(drivername="postgresql").render_as_string(hide_password=False)


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
    with closing(psycopg.connect(_libpq(running.urls))) as busy:
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


def test_stop_leaves_no_process_and_no_socket(tmp_path: Path) -> None:
    running = embedded.start(tmp_path, durable=False)
    sockets = Places(tmp_path).sockets
    pids = [Identified.of(server.pid) for server in (running.queue, running.cache, running.postgres)]
    assert embedded.find(tmp_path) == running.urls
    running.stop()
    running.stop()
    assert not any(pid.is_alive() for pid in pids)
    assert not sockets.exists()
    assert embedded.find(tmp_path) is None
    assert not running.owned


def test_a_killed_owner_leaves_no_server_and_the_next_start_has_its_data(tmp_path: Path) -> None:
    with owner_of(tmp_path) as owner:
        assert len(owner.servers) > 3  # Postgres has children, and they count
        sql(owner.urls, "CREATE TABLE kept AS SELECT 1 AS one")
        owner.process.send_signal(signal.SIGKILL)
        owner.process.wait()
        with embedded.start(tmp_path, durable=False) as running:  # at once: servers may still be ending
            assert running.owned
            assert running.urls == owner.urls
            assert sql(running.urls, "SELECT one FROM kept") == [(1,)]
        assert owner.leaves_nothing()


def test_a_killed_owner_leaves_no_server_when_nobody_starts_again(tmp_path: Path) -> None:
    with owner_of(tmp_path) as owner:
        owner.process.kill()
        owner.process.wait()
        assert owner.leaves_nothing()
        assert embedded.find(tmp_path) is None


def test_a_second_start_joins_and_is_told_whom_to_ask(tmp_path: Path) -> None:
    with owner_of(tmp_path) as owner:
        assert embedded.find(tmp_path) == owner.urls
        joined = embedded.start(tmp_path, durable=False)
        assert joined.urls == owner.urls
        assert not joined.owned
        joined.stop()
        with pytest.raises(embedded.EmbeddedError, match=f"process {owner.pid}"):
            joined.queue.kill()
        assert sql(owner.urls, "SELECT 1") == [(1,)]
        owner.process.communicate()  # end of input: an orderly stop
        assert owner.process.returncode == 0
        assert owner.leaves_nothing()


def test_a_folder_held_without_servers_names_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "JOIN_DEADLINE_S", 0.0)
    places = Places(tmp_path)
    lock = Ownership.try_take(places)
    assert lock
    lock.publish(State(Identified.of(os.getpid())))
    with pytest.raises(embedded.EmbeddedError, match=f"process {os.getpid()} holds the data folder"):
        embedded.start(tmp_path)
    lock.release()
    places.remove_sockets()


def test_a_stale_pid_file_that_names_a_living_process_does_not_stop_postgres(
    running: embedded.Embedded,
) -> None:
    data = Path(str(sql(running.urls, "SHOW data_directory")[0][0]))
    text_of_the_living = (data / "postmaster.pid").read_text().split("\n", 1)[1]
    running.postgres.stop()
    (data / "postmaster.pid").write_text(f"{os.getpid()}\n{text_of_the_living}")
    running.postgres.start()
    assert sql(running.urls, "SELECT 1") == [(1,)]


def test_leftovers_of_a_crash_during_initdb_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "postgres-18.new").mkdir()
    (tmp_path / "postgres-18.new" / "PG_VERSION").write_text("18")
    (tmp_path / "state.json").write_text("{")
    with embedded.start(tmp_path, durable=False) as running:
        assert sql(running.urls, "SELECT 1") == [(1,)]


def test_a_failed_initdb_is_reported_in_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "initdb").write_text("#!/bin/sh\necho 'No space left on device' >&2; exit 1\n")
    (programs / "initdb").chmod(0o755)
    (programs / "postgres").symlink_to(binaries.postgres().postgres)
    broken = binaries.PostgresPrograms(programs, programs, (".",))
    monkeypatch.setattr(binaries, "postgres", lambda: broken)
    folder = tmp_path / "data"
    with pytest.raises(embedded.EmbeddedError, match=r"initdb failed with 1.*\nNo space left on device"):
        embedded.start(folder)
    assert not list(folder.glob("postgres-*"))
    monkeypatch.undo()
    with embedded.start(folder, durable=False) as running:  # the failure holds nothing
        assert running.owned


def test_a_server_that_does_not_start_is_reported_in_its_own_words(tmp_path: Path) -> None:
    embedded.start(tmp_path, durable=False).stop()
    next((tmp_path / "queue").rglob("*.manifest")).write_text("nonsense\n")
    with pytest.raises(embedded.EmbeddedError, match=r"queue did not start(?s:.*)nonsense"):
        embedded.start(tmp_path, durable=False)
    assert embedded.find(tmp_path) is None


def test_programs_on_the_path_serve_when_the_wheels_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("redis-server", "postgres", "initdb"):
        (tmp_path / name).touch(mode=0o755)
    monkeypatch.setattr(binaries, "_package", lambda _: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert binaries.valkey_server() == tmp_path / "redis-server"
    assert binaries.postgres().initdb == tmp_path / "initdb"


def test_missing_programs_are_named_with_the_url_that_makes_them_unneeded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binaries, "_package", lambda _: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(embedded.EmbeddedError, match=r"valkey-server or redis-server.*REDIS_URL"):
        binaries.valkey_server()
    with pytest.raises(embedded.EmbeddedError, match=r"initdb.*DATABASE_URL"):
        binaries.postgres()


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(embedded.EmbeddedError, match="cannot be used"):
        embedded.start(tmp_path / "file" / "data")


@needs_root
def test_a_normal_user_runs_the_servers(tmp_path: Path) -> None:
    if not identity.can_map():
        pytest.skip("this kernel or container refuses user namespaces")
    # In the namespace the process is user 65534 without any privilege, but may read this checkout.
    with owner_of(tmp_path, *_launcher(Identity.MAPPED)) as owner:
        assert owner.uid == identity.UNPRIVILEGED
        assert sql(owner.urls, "SELECT 1") == [(1,)]
        owner.process.kill()
        owner.process.wait()
        assert owner.leaves_nothing()


@needs_root
def test_a_user_without_any_right_to_this_checkout_runs_the_servers() -> None:
    if not identity.can_run([sys.executable, "-c", "import worker.embedded"], Identity.NOBODY):
        pytest.skip("`nobody` cannot read this Python or this checkout")
    folder = Path(tempfile.mkdtemp(prefix="stoker-test-"))  # pytest's own is closed to others
    os.chown(folder, identity.UNPRIVILEGED, identity.UNPRIVILEGED)
    try:
        with owner_of(folder, *_launcher(Identity.NOBODY)) as owner:
            assert owner.uid == identity.UNPRIVILEGED
            assert sql(owner.urls, "SELECT 1") == [(1,)]
    finally:
        rmtree(folder)


@needs_root
def test_root_without_user_namespaces_runs_postgres_as_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "can_map", lambda: False)
    try:
        with embedded.start(tmp_path, durable=False) as running:
            assert Path(f"/proc/{running.postgres.pid}").stat().st_uid == identity.UNPRIVILEGED
            assert sql(running.urls, "SELECT 1") == [(1,)]
            running.postgres.kill()
            running.postgres.start()
            assert sql(running.urls, "SELECT 1") == [(1,)]
    finally:
        with suppress(FileNotFoundError):
            rmtree(Places(tmp_path).nobody)
        Places(tmp_path).remove_sockets()
