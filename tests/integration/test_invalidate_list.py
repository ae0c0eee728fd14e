"""`stoker invalidate --from`: many scopes, one a line, all of them or none."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, make_url, text

from tests.integration.cli import Done, call, running
from tests.support.place import Place

EVENTS = text("SELECT kind, scopes, transaction_id FROM stoker.cache_events ORDER BY id")
Invalidate = Callable[..., Done]


@pytest.fixture
def environment(place: Place) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("STOKER__")},
        "DATABASE_URL": place.database_url,
        "REDIS_URL": place.queue_url,
        "CACHE_REDIS_URL": place.cache_url,
        "STOKER__QUEUE__PREFIX": place.prefix,
        "STOKER__CACHE__PREFIX": place.prefix,
    }


@pytest.fixture
def sql(place: Place) -> Iterator[Connection]:
    url = make_url(place.database_url).set(drivername="postgresql+psycopg")
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


@pytest.fixture
def invalidate(
    environment: dict[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Invalidate:
    """Runs the command with a list on standard input."""

    def run(lines: str | bytes, *options: str) -> Done:
        given = lines if isinstance(lines, bytes) else lines.encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given), encoding="ascii"))
        return call(tmp_path, environment, "invalidate", "--from", "-", *options, capture=capsys)

    return run


def recorded(sql: Connection) -> list[Any]:
    return [scope for row in sql.execute(EVENTS) for scope in row.scopes]


def test_each_line_names_a_scope_its_views_and_whether_it_is_hard(
    invalidate: Invalidate, sql: Connection
) -> None:
    lines = "project:1 detail\n\n# all of it:\nproject:2\nuser:7 list stats hard  # gone\n  project:3 hard\n"
    done = invalidate(lines, "--wait", "0", "--json")
    assert done.returncode == 0
    said = json.loads(done.stdout)
    every = ["access", "dashboard", "detail", "export"]
    assert recorded(sql) == [
        ["project", "1", ["detail"], 0, 0],
        ["project", "2", every, 0, 1],
        ["user", "7", ["list", "stats"], 1, 0],
        ["project", "3", every, 1, 1],
    ]
    assert {str(row.transaction_id) for row in sql.execute(EVENTS)} == {said["transaction_id"]}
    assert (said["scopes"], said["applied"]) == (4, False)
    audited = sql.execute(text("SELECT actor, action, arguments FROM stoker.audit_log")).one()
    assert audited.actor.startswith("cli")
    assert audited.action == "cache.invalidate_list"
    assert audited.arguments == {"list": "-", "scopes": {"project": 3, "user": 1}}


def test_options_are_for_lines_that_say_nothing_else(invalidate: Invalidate, sql: Connection) -> None:
    assert invalidate("project:1\nproject:2 export\n", "--view", "detail", "--hard", "--wait", "0").stdout
    assert recorded(sql) == [["project", "1", ["detail"], 1, 0], ["project", "2", ["export"], 1, 0]]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("project:1\n\nproject 2\n", "line 3: 'project' is no scope: write KIND:ID"),
        ("planet:1\n", "line 1: no scope kind 'planet'; there are: project, user"),
        ("project:1\nproject:x\n", "line 2: project id 'x' is not an integer of 0 or more"),
        ("project:1 nothing\n", "line 1: project has no view 'nothing'; there are: access"),
        ("project:1 hard detail\n", "line 1: project has no view 'hard'"),
        (b"project:1\nproject:\xff\n", "line 2: project id "),
        (
            "".join(f"project:{number}\n" for number in range(20_001)) + "user:1 x\n",
            "line 20002: user has no",
        ),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_done(
    invalidate: Invalidate, sql: Connection, lines: str | bytes, said: str
) -> None:
    done = invalidate(lines, "--wait", "0")
    assert done.returncode == 2
    assert said in done.stderr
    assert "; nothing was invalidated\n" in done.stderr
    assert recorded(sql) == []
    assert not sql.scalar(text("SELECT count(*) FROM stoker.audit_log"))


def test_more_scopes_than_fit_into_memory_are_refused(
    invalidate: Invalidate, sql: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stoker.operations.listed.MOST", 40)
    assert invalidate("project:1\n" * 40, "--wait", "0").returncode == 0
    done = invalidate("project:1\n" * 41, "--wait", "0")
    assert (done.returncode, len(recorded(sql))) == (2, 40)
    assert "more than 40 scopes: split the list; nothing was invalidated" in done.stderr


def test_an_empty_list_is_no_mistake(invalidate: Invalidate, sql: Connection) -> None:
    done = invalidate("# nobody\n")
    assert (done.returncode, done.stdout) == (0, "0 scopes invalidated\n")
    assert recorded(sql) == []


def test_many_scopes_are_few_rows_of_one_transaction(invalidate: Invalidate, sql: Connection) -> None:
    done = invalidate("".join(f"project:{number}\n" for number in range(30_000)), "--wait", "0")
    assert done.returncode == 0
    rows = sql.execute(EVENTS).all()
    assert len({row.transaction_id for row in rows}) == 1
    assert len(rows) == 30_000 / 20
    assert [scope[1] for row in rows for scope in row.scopes] == [str(number) for number in range(30_000)]
    assert "recording scopes: 10,000 of 30,000" in done.stderr


def test_a_file_is_in_effect_when_the_command_returns(
    environment: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], sql: Connection
) -> None:
    (tmp_path / "scopes").write_text("project:1\nproject:2 detail\n")
    with running(tmp_path, environment, "run", ready="worker.started") as worker:
        done = call(tmp_path, environment, "invalidate", "--from", "scopes", "--wait", "20", capture=capsys)
        assert (done.returncode, done.stdout) == (0, "2 scopes invalidated\n")
        assert not sql.scalar(text("SELECT count(*) FROM stoker.cache_events WHERE settled_at IS NULL"))
        worker.send_signal(signal.SIGTERM)
        worker.wait(20)


@pytest.mark.parametrize(
    ("options", "said", "code"),
    [
        (["project"], "name what to invalidate: KIND and ID, or --from FILE", 2),
        (["project", "1", "--from", "-"], "give KIND and ID, or --from, not both", 2),
        (["--from", "no-such-file"], "no-such-file cannot be read: No such file or directory", 2),
    ],
)
def test_wrong_usage_is_said(
    environment: dict[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    said: str,
    code: int,
) -> None:
    done = call(tmp_path, environment, "invalidate", *options, capture=capsys)
    assert (done.returncode, said in done.stderr) == (code, True)


def test_without_a_worker_a_list_is_recorded_and_said_to_wait(
    invalidate: Invalidate, sql: Connection
) -> None:
    done = invalidate("project:1\n", "--wait", "0.1")
    assert done.returncode == 1
    assert "not applied within 0.1 s" in done.stderr
    assert len(recorded(sql)) == 1
