"""Who runs a command: the audit names the human, and the user that the command ran as."""

from __future__ import annotations

import getpass
import socket

import pytest

from stoker.operations.audit import local_actor


def test_the_audit_names_who_called_sudo_or_who_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: "root")
    monkeypatch.delenv("SUDO_USER", raising=False)
    assert local_actor().name == "cli:root"
    monkeypatch.setenv("SUDO_USER", "ann")
    assert local_actor().name == "cli:ann"
    assert local_actor("bob").name == "cli:bob"
    assert local_actor("bob").address == f"root@{socket.gethostname()}"


def test_a_user_without_a_name_is_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found: 1234")

    monkeypatch.setattr(getpass, "getuser", nameless)
    monkeypatch.delenv("SUDO_USER", raising=False)
    assert local_actor().name.removeprefix("cli:").isdigit()
