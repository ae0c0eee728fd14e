"""Dead letters by filter: what an operator chooses is what is retried or discarded, with exact numbers."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from stoker.operations.moments import moment
from stoker.stoker import Stoker
from tests.integration.test_cli_steer import Run, environment, on_stoker, shown, stoker  # noqa: F401

LETTERS = (
    "INSERT INTO stoker.dead_jobs"
    " (job_id, lane, kind, payload, reason, error, fingerprint, attempts, died_at)"
    " SELECT :name || n, :lane, :kind, CAST(:payload AS jsonb), 'failed', :error, md5(:error), 1,"
    " clock_timestamp() - make_interval(hours => :hours) FROM generate_series(1, :number) n"
)
DASHBOARD = '{"view": "dashboard", "scope_id": "7", "params": ""}'
HEADER = '{"view": "header", "scope_id": "7", "params": ""}'


async def bury(opened: Stoker) -> None:
    """812 letters: 768 refreshes of the dashboard, of which 44 have another error; 44 of others."""
    missing = 'UndefinedTable: relation "nowhere" does not exist\n[SQL: SELECT]'
    rows = [
        ("a", "refresh", "refresh.v1", DASHBOARD, missing, 0, 724),
        ("b", "refresh", "refresh.v1", DASHBOARD, "UniqueViolation: 100%_sure", 0, 44),
        ("c", "refresh", "refresh.v1", HEADER, missing, 5, 24),
        ("d", "warm", "warm.v1", '{"target": "active"}', missing, 0, 20),
    ]
    names = ("name", "lane", "kind", "payload", "error", "hours", "number")
    async with opened.engine.begin() as connection:
        for row in rows:
            await connection.execute(text(LETTERS), dict(zip(names, row, strict=True)))


def test_exactly_what_the_filter_chooses_is_retried(
    stoker: Run,  # noqa: F811
    environment: dict[str, str],  # noqa: F811
) -> None:
    on_stoker(environment, bury)
    listed = shown(stoker("dead", "list", "--view", "dashboard", "--json", "--limit", "10"))
    assert (len(listed["dead"]), listed["matching"], listed["of"]) == (10, 768, 812)
    assert {(one["view"], one["scope"]) for one in listed["dead"]} == {("dashboard", "project:7")}
    older = shown(stoker("dead", "list", "--before", str(listed["dead"][-1]["id"]), "--limit", "1", "--json"))
    assert older["dead"][0]["id"] < listed["dead"][-1]["id"]
    assert (
        "10 of 768 that match, 812 in all"
        in stoker("dead", "list", "--view", "dashboard", "--limit", "10").stdout
    )
    unsure = stoker("dead", "retry", "--error", "uniqueviolation: 100%_")
    assert (unsure.returncode, "retry 44 of 812 dead letters?" in unsure.stderr) == (1, True)
    done = stoker("dead", "retry", "--error", "uniqueviolation: 100%_", "--yes")
    assert done.stdout == "retried 44 of 44; 768 dead letters are left\n"
    assert shown(stoker("dead", "discard", "--since", "1h", "--view", "header", "--yes", "--json")) == {
        "matched": 0,
        "discarded": 0,
        "left": 768,
    }
    assert shown(stoker("dead", "list", "--since", "2h", "--causes", "--json"))["groups"][0]["letters"] == 744
    discarded = stoker("dead", "discard", "--kind", "refresh.v1", "--view", "header", "--yes")
    assert discarded.stdout == "discarded 24 of 24; 744 dead letters are left\n"
    rows = shown(stoker("audit", "--action", "dead", "--json"))["entries"]
    assert [row["arguments"]["letters"] for row in rows] == [24, 0, 44]


def test_letters_that_come_after_the_question_are_left_alone(
    stoker: Run,  # noqa: F811
    environment: dict[str, str],  # noqa: F811
) -> None:
    from stoker.operations import dead  # noqa: PLC0415
    from stoker.operations.audit import Actor  # noqa: PLC0415

    async def work(opened: Stoker) -> None:
        await bury(opened)
        counted = await dead.count(opened, dead.DeadFilter(view="header"))
        async with opened.engine.begin() as connection:
            values = {"name": "new", "lane": "refresh", "kind": "refresh.v1", "payload": HEADER}
            await connection.execute(text(LETTERS), {**values, "error": "new", "hours": 0, "number": 3})
        which = dead.WhichDead(view="header", up_to=counted.newest)
        found = await dead.retry(opened, Actor("test"), which)
        assert (counted.letters, found.matched, found.retried, found.left) == (24, 24, 24, 791)

    on_stoker(environment, work)
    assert stoker("dead", "list", "--view", "header", "--json").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--fingerprint", "0123"), "a fingerprint is 32 hex digits"),
        (("--since", "yesterday"), "is no moment: write 2h"),
        ((), "give an ID, --kind, --view, --error, --since or --fingerprint, or --all"),
        (("--all", "--view", "header"), "or --all"),
    ],
)
def test_a_filter_that_cannot_be_right_is_refused(
    stoker: Run,  # noqa: F811
    arguments: tuple[str, ...],
    said: str,
) -> None:
    done = stoker("dead", "retry", *arguments, "--yes")
    assert (done.returncode, done.stdout) == (2, "")
    assert said in re.sub(r"[\s│]+", " ", done.stderr)
    assert "Traceback" not in done.stderr


def test_a_moment_is_a_duration_ago_a_time_of_today_or_a_date() -> None:
    now = datetime.now(UTC)
    assert timedelta(0) <= moment("2h") - (now - timedelta(hours=2)) < timedelta(minutes=1)
    assert moment("2026-01-31T14:00") == datetime(2026, 1, 31, 14, tzinfo=UTC)
    assert moment("2026-01-31T14:00+02:00") == datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert timedelta(0) <= now - moment(f"{now:%H:%M}") < timedelta(minutes=1, seconds=1)
    assert moment(f"{now + timedelta(hours=1):%H:%M}") <= now, "a time that is still to come was yesterday's"
    for wrong in ("soon", "25:00", "9999999d", "0001-01-01T00:00+23:00", "٢h"):
        with pytest.raises(ValueError, match=r"moment|range"):
            moment(wrong)
