"""What the command line says when it cannot work: one line, an exit code, no traceback."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path
from typing import Protocol

import pytest

from tests.integration.cli import URLS, Done, call, spawn

NOWHERE = {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none", "REDIS_URL": "redis://127.0.0.1:1"}


class Stoker(Protocol):
    """Runs a command with these variables, and no URL that is not among them."""

    def __call__(self, *arguments: str, **variables: str) -> Done: ...


@pytest.fixture
def stoker(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Stoker:
    def run(*arguments: str, **variables: str) -> Done:
        return call(tmp_path, variables, *arguments, capture=capsys)

    return run


def test_it_runs_as_a_module_too(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in URLS}
    done = spawn(tmp_path, environment, "status")
    assert (done.returncode, "DATABASE_URL is not set" in done.stderr) == (2, True)


def test_version_and_help_are_told_without_settings(stoker: Stoker) -> None:
    assert re.fullmatch(r"stoker \d+\.\d+\.\d+\n", stoker("--version").stdout)
    helped = stoker("-h")
    assert helped.stdout == stoker("--help").stdout
    told = " ".join(helped.stdout.split())
    assert (
        "Exit codes: 0 success, 1 something is wrong or was not done, 2 wrong usage, settings or traces."
        in told
    )
    assert "--fingerprint" in stoker("dead", "retry", "-h").stdout


@pytest.mark.parametrize(
    "command",
    [
        ["run"],
        ["api"],
        ["migrate"],
        ["sample-data"],
        ["check"],
        ["status"],
        ["invalidate", "shelf", "7"],
        ["warm"],
    ],
    ids=lambda command: str(command[0]),
)
def test_without_a_url_a_command_exits_2_and_starts_nothing(
    stoker: Stoker, tmp_path: Path, command: list[str]
) -> None:
    done = stoker(*command)
    assert done.returncode == 2
    assert "DATABASE_URL is not set" in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("lanes", ["fiels", "files,", "", "files changes"])
def test_a_worker_of_a_lane_that_there_is_not_is_a_usage_error(stoker: Stoker, lanes: str) -> None:
    done = stoker("run", "--lanes", lanes, **NOWHERE)
    assert done.returncode == 2
    assert "there are: changes, refresh, warm, files" in done.stderr


def test_up_with_only_one_url_starts_nothing(stoker: Stoker, tmp_path: Path) -> None:
    done = stoker("up", DATABASE_URL=NOWHERE["DATABASE_URL"])
    assert (done.returncode, done.stderr.count("REDIS_URL is not set")) == (2, 1)
    assert list(tmp_path.iterdir()) == []


def test_embedded_servers_and_a_url_at_once_are_refused(stoker: Stoker) -> None:
    done = stoker("status", "--embedded", REDIS_URL=NOWHERE["REDIS_URL"])
    assert done.returncode == 2
    assert "REDIS_URL is set" in done.stderr


def test_an_unknown_setting_is_named(stoker: Stoker) -> None:
    done = stoker("status", STOKER__CACHE__LEESE_S="3", **NOWHERE)
    said = "error: cache.leese_s: there is no such setting; did you mean lease_s?\n"
    assert (done.returncode, done.stderr) == (2, said)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("[cahce]\nlease_s = 3\n", "error: cahce: there is no such setting; did you mean cache?\n"),
        ("[cache]\nqqqqq = 3\n", "error: cache.qqqqq: there is no such setting\n"),
        (
            '[[api.tokens]]\nname = "ann"\nrole = "viewer"\ntoken = "0123456789abcdef"\nroll = 1\n',
            "error: api.tokens.0.roll: there is no such setting\n",
        ),
        ("[cache\n", "error: settings.toml: Expected ']' at the end of a table declaration"),
    ],
)
def test_a_mistake_in_the_file_is_one_line_that_says_where(
    stoker: Stoker, tmp_path: Path, written: str, said: str
) -> None:
    (tmp_path / "settings.toml").write_text(written)
    done = stoker("status", **NOWHERE)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith(said)


@pytest.mark.parametrize("url", ["mysql://x", "nonsense"])
def test_a_url_of_another_kind_is_refused_in_words(stoker: Stoker, url: str) -> None:
    done = stoker("status", **{**NOWHERE, "DATABASE_URL": url})
    assert done.returncode == 2
    assert done.stderr.startswith("error: DATABASE_URL: must begin with postgresql://")


def test_a_database_that_does_not_exist_is_one_clear_line(stoker: Stoker, database_url: str) -> None:
    other = {"DATABASE_URL": re.sub(r"/[^/?]*(\?|$)", r"/no_such_database\1", database_url, count=1)}
    done = stoker("dead", "list", **{**NOWHERE, **other})
    assert (done.returncode, done.stderr) == (
        2,
        'error: Postgres refuses DATABASE_URL: database "no_such_database" does not exist\n',
    )


@pytest.mark.parametrize("group", ["cache", "captures", "dead", "jobs", "tokens", "trace", "warm", "workers"])
def test_the_list_of_commands_of_a_group_cuts_no_sentence(stoker: Stoker, group: str) -> None:
    listed = stoker(group, "--help").stdout.partition("Commands:")[2]
    assert listed
    assert "..." not in listed


def test_status_tells_what_still_answers_when_postgres_is_away(stoker: Stoker, queue_url: str) -> None:
    done = stoker("status", **{**NOWHERE, "REDIS_URL": queue_url})
    assert done.returncode == 1
    states = {line.split("\t")[0]: line.split("\t")[2] for line in done.stdout.splitlines() if "\t" in line}
    assert states.keys() == {"server", "Postgres", "queue Redis", "cache Redis"}
    assert states["Postgres"] == "DOWN"
    # On a busy machine an answer may take so long that it is called slow.
    assert {states["queue Redis"], states["cache Redis"]} <= {"ok", "slow"}
    assert "does not answer; without it, writes fail" in done.stdout
    assert "Traceback" not in done.stderr


def test_an_unreachable_postgres_is_one_clear_line(stoker: Stoker) -> None:
    done = stoker("run", **NOWHERE)
    assert done.returncode == 1
    assert done.stderr.startswith("error: Postgres does not answer")
    assert "Traceback" not in done.stderr


def test_up_says_that_urls_are_set_and_that_it_starts_no_servers(stoker: Stoker) -> None:
    """Whoever pasted its line into a shell and stopped it starts it again there."""
    done = stoker("up", "--port", "0", **NOWHERE)
    assert done.returncode == 1
    noted, said = done.stderr.splitlines()
    assert (
        noted
        == "using the servers of the URLs that are set; without any, `stoker up` starts its own in .data"
    )
    assert said.startswith("error: Postgres does not answer")


def test_a_port_in_use_is_said_before_anything_starts(stoker: Stoker) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = stoker("api", "--port", port, **NOWHERE)
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1 port {port}: Address already in use" in done.stderr


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (
            "from stoker import Domain\n\ndomain = Domain(nam='shop')\n",
            "TypeError: .*'nam'.*broken.py, line 3",
        ),
        ("domain = Domain(\n", "SyntaxError: .*broken.py, line 1"),
        ("from stoker import Domian\n", "cannot import name 'Domian'"),
    ],
)
def test_a_domain_that_raises_at_its_import_is_one_line_that_says_where(
    stoker: Stoker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, said: str
) -> None:
    (tmp_path / "broken.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    done = stoker("run", STOKER__DOMAIN="broken", **NOWHERE)
    sys.modules.pop("broken", None)
    assert done.returncode == 2
    assert re.fullmatch(f"error: domain 'broken' cannot be imported: .*{said}.*\n", done.stderr)


def test_a_domain_that_is_not_there_is_named(stoker: Stoker) -> None:
    done = stoker("run", STOKER__DOMAIN="no.such.domain", **NOWHERE)
    assert done.returncode == 2
    assert "'no.such.domain' cannot be imported" in done.stderr


def test_check_names_every_server_that_is_away(stoker: Stoker) -> None:
    done = stoker("check", **NOWHERE)
    assert done.returncode == 1
    assert "error: Postgres does not answer" in done.stdout
    assert "error: the queue Redis does not answer" in done.stdout


def test_check_warns_about_pools_and_leases_that_do_not_fit(stoker: Stoker) -> None:
    done = stoker(
        "check",
        STOKER__LOADERS__CONNECTIONS="2",
        STOKER__LOADERS__STATEMENT_TIMEOUT_S="60",
        STOKER__DATABASE__CONNECTIONS="3",
        **NOWHERE,
    )
    for told in ("loaders.connections (2)", "cache.lease_s (20)", "database.connections (3)"):
        assert f"warning: {told}" in done.stdout


def test_check_warns_about_a_rate_that_holds_changes_back_and_about_no_other(stoker: Stoker) -> None:
    limited = {f"STOKER__LANES__{lane}__RATE_PER_S": "2.5" for lane in ("CHANGES", "REFRESH", "WARM")}
    told = stoker("check", **limited, **NOWHERE).stdout
    assert "warning: lanes.changes.rate_per_s (2.5) delays changes" in told
    assert told.count("rate_per_s") == 1
    assert "rate_per_s" not in stoker("check", **NOWHERE).stdout


@pytest.mark.parametrize("where", ["full", "closed", "unread"])
def test_a_result_that_cannot_be_written_is_one_line(tmp_path: Path, where: str) -> None:
    """`stoker check` writes its findings to a full disk, to no stdout at all, to a pipe that nobody reads."""
    environment = {name: value for name, value in os.environ.items() if name not in URLS}
    command = shlex.join([sys.executable, "-m", "stoker", "check"])
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(  # noqa: S602 - our own program, and a shell that can close what it starts with
        command + {"full": " >/dev/full", "closed": " >&-", "unread": ""}[where],
        shell=True,
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": str(Path.cwd()), "STOKER__DOMAIN": "jobs"},
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=60,
    )
    os.close(writing)
    assert done.returncode == 1
    *_, line = done.stderr.splitlines()  # after the one that names the settings file
    assert line.startswith("error: ")
    assert "stdout" in line


def test_a_settings_file_that_is_not_utf8_is_named(stoker: Stoker, tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes(b'domain = "caf\xe9"\n')
    done = stoker("check", STOKER_SETTINGS="latin.toml")
    assert done.returncode == 2
    assert "latin.toml is not UTF-8" in done.stderr


def test_a_fault_that_chaos_does_not_know_is_refused(stoker: Stoker) -> None:
    done = stoker("chaos", "--fault", "nope")
    assert done.returncode == 2
    assert "nope" in done.stderr
    assert "kill_worker" in done.stderr
