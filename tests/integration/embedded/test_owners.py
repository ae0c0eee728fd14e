"""Servers never outlive their owner, whoever it is and however it ends; the next one finds its data."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from shutil import rmtree

import pytest

from stoker import embedded
from stoker.embedded import identity
from stoker.embedded.folder import Places
from stoker.embedded.identity import Identity
from stoker.embedded.process import Identified
from tests.integration.embedded.folders import launcher_as, owner_of, sql

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


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


@needs_root
def test_a_normal_user_runs_the_servers(tmp_path: Path) -> None:
    if not identity.can_map():
        pytest.skip("this kernel or container refuses user namespaces")
    # In the namespace the process is user 65534 without any privilege, but may read this checkout.
    with owner_of(tmp_path, *launcher_as(Identity.MAPPED)) as owner:
        assert owner.uid == identity.UNPRIVILEGED
        assert sql(owner.urls, "SELECT 1") == [(1,)]
        owner.process.kill()
        owner.process.wait()
        assert owner.leaves_nothing()


@needs_root
def test_a_user_without_any_right_to_this_checkout_runs_the_servers() -> None:
    if not identity.can_run([sys.executable, "-c", "import stoker.embedded"], Identity.NOBODY):
        pytest.skip("`nobody` cannot read this Python or this checkout")
    folder = Path(tempfile.mkdtemp(prefix="stoker-test-"))  # pytest's own is closed to others
    os.chown(folder, identity.UNPRIVILEGED, identity.UNPRIVILEGED)
    try:
        with owner_of(folder, *launcher_as(Identity.NOBODY)) as owner:
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
