"""A server that cannot start is reported with its own message, and leftovers of a crash are removed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stoker import embedded
from stoker.embedded import binaries, servers
from stoker.embedded.folder import Ownership, Places, State
from stoker.embedded.process import Identified
from tests.integration.embedded.folders import sql


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
    monkeypatch.delenv(binaries.SERVER_VARIABLE, raising=False)
    assert binaries.valkey_server() == tmp_path / "redis-server"
    assert binaries.postgres().initdb == tmp_path / "initdb"


def test_missing_programs_are_named_with_the_url_that_makes_them_unneeded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binaries, "_package", lambda _: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(binaries.SERVER_VARIABLE, raising=False)
    with pytest.raises(embedded.EmbeddedError, match=r"valkey-server or redis-server.*REDIS_URL"):
        binaries.valkey_server()
    with pytest.raises(embedded.EmbeddedError, match=r"initdb.*DATABASE_URL"):
        binaries.postgres()


def test_the_environment_may_name_another_server_than_the_wheels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "redis-server-8").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv(binaries.SERVER_VARIABLE, "redis-server-8")
    assert binaries.valkey_server() == tmp_path / "redis-server-8"
    monkeypatch.setenv(binaries.SERVER_VARIABLE, str(tmp_path / "redis-server-9"))
    with pytest.raises(
        embedded.EmbeddedError, match=r"STOKER_VALKEY_SERVER: .*/redis-server-9 is no program"
    ):
        binaries.valkey_server()


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(embedded.EmbeddedError, match="cannot be used"):
        embedded.start(tmp_path / "file" / "data")
