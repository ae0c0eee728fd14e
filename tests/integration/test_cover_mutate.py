"""`stoker cover --mutate`: planted faults, and which of both commands finds each of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from stoker import Domain, Invalidation, Stoker
from stoker.coverage.mutate import mutate
from stoker.coverage.proof import Proof
from stoker.embedded import Urls
from stoker.errors import DatabaseUnavailable
from stoker.migrate import migrate
from stoker.postgres import engine_of
from stoker.testing import assert_covered
from stoker.testing.started import finished
from tests.integration.cli import call
from tests.library import domain as library
from tests.support.desk import (
    AGENT,
    BOARDS,
    CAPTURES,
    INVOLVED,
    STAFF,
    TABLES,
    TEAMS,
    TICKETS,
    Keys,
    Values,
    audience,
    captured,
    desk,
    loader,
)
from tests.support.place import Place

CASCADE = [
    f"ALTER TABLE {table} DROP CONSTRAINT {table}_team_id_fkey,"
    " ADD FOREIGN KEY (team_id) REFERENCES teams ON DELETE CASCADE"
    for table in ("tickets", "staff")
]
NOTE = """
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
INSERT INTO stoker.cache_events (kind, scopes, payload)
SELECT 'desk.staff_changed',
       jsonb_build_array(jsonb_build_array('agent', agent_id, jsonb_build_array('inbox'), 0, 0)),
       jsonb_build_object('team_id', team_id, 'agent_id', agent_id)
  FROM after;
RETURN NULL; END $$
"""
TRIGGER = """
CREATE TRIGGER note AFTER UPDATE ON staff REFERENCING NEW TABLE AS after
FOR EACH STATEMENT EXECUTE FUNCTION note()
"""


def forgets(_: Any) -> Iterable[Invalidation]:  # noqa: ANN401 - an event
    return []


def fails(event: Any) -> Iterable[Invalidation]:  # noqa: ANN401 - an event
    raise KeyError(event.kind)


def another_scope(event: Any) -> Iterable[Invalidation]:  # noqa: ANN401 - an event
    return [Invalidation(AGENT.scope(event.team_id), {"inbox"})]


@dataclass(frozen=True)
class Fault:
    """A faulty domain, and something that `cover` and `--mutate` say of it; empty: they find nothing."""

    domain: Domain
    covered: str = ""
    mutated: str = ""
    tables: Sequence[str] = ()
    after: Sequence[str] = ()
    """Statements before and after the captures are made."""


FAULTS = {
    "none": Fault(desk()),
    "a rule forgets a view": Fault(desk(replace(TICKETS, invalidates=forgets)), "", "tickets.title -> board"),
    "a rule names another scope": Fault(
        desk(replace(TICKETS, invalidates=another_scope)), "", "tickets.title -> board"
    ),
    "a rule raises": Fault(
        desk(replace(TICKETS, invalidates=fails)), "", "tickets.title failed: KeyError: 'desk.ticket_changed'"
    ),
    "an audience misses those who lead": Fault(
        desk(replace(TICKETS, audience=audience("SELECT agent_id FROM staff WHERE team_id = ANY(:ids)"))),
        "",
        "tickets.status -> inbox",
    ),
    "an audience asks who is left after a removal": Fault(
        desk(replace(STAFF, invalidates=forgets, audience=audience(INVOLVED))),
        "",
        "staff (row removed) -> inbox",
    ),
    "a loader reads a new column": Fault(
        desk(boards=BOARDS.replace("title", "title, priority")),
        "board: tickets.priority",
        "tickets.priority -> board",
    ),
    "a loader joins another table": Fault(
        desk(boards=BOARDS.replace("title", "(SELECT name FROM teams WHERE id = team_id)")),
        "board: teams.name",
        "teams.name -> board",
    ),
    "a loader filters by a column": Fault(
        desk(boards=BOARDS.replace("ORDER", "AND priority < 5 ORDER")),
        "board: tickets.priority",
        "tickets.priority -> board",
    ),
    "a declaration lacks a column": Fault(
        desk(replace(TICKETS, covers=("tickets.id", "tickets.team_id", "tickets.title"))),
        "inbox: tickets.status",
        "tickets.status -> inbox",
    ),
    "a cascade that nobody records": Fault(desk(), "", "teams (row removed) -> inbox", CASCADE),
    "a trigger that records only where a row went": Fault(
        desk(replace(STAFF, covers=())),
        "inbox: staff.agent_id",
        "staff.agent_id -> inbox",
        (NOTE, TRIGGER),
    ),
    "none, with captures": Fault(captured()),
    "a capture lacks a column": Fault(
        captured(replace(CAPTURES[0], columns=("title",))), "inbox: tickets.status", "tickets.status -> inbox"
    ),
    "somebody disabled the triggers": Fault(
        captured(), "", "tickets.title -> board", after=["ALTER TABLE tickets DISABLE TRIGGER USER"]
    ),
}


async def run(database_url: str, *statements: str) -> None:
    engine = engine_of(database_url)
    async with engine.begin() as connection:
        for statement in statements:
            await connection.execute(text(statement))
    await engine.dispose()


async def prepared(database_url: str, *statements: str) -> None:
    await run(database_url, *TABLES.split(";"), *statements)


def said(proof: Proof) -> list[str]:
    failed = [f"{one} failed: {one.failed}" for one in proof.tried if one.failed]
    return failed + [f"{change} -> {missed.view}" for change, missed in proof.missed]


@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_is_found(name: str, database_url: str) -> None:
    fault = FAULTS[name]
    await prepared(database_url, *fault.tables)
    if fault.domain.captures:
        await migrate(database_url, fault.domain)
    await run(database_url, *fault.after)
    proof = await mutate(database_url, fault.domain)
    unsound = [f"{view.view}: {one.table}.{one.column}" for view in proof.views for one in view.uncovered]
    unsound += [f"{view.view}: {one}" for view in proof.views for one in view.unseen]
    assert fault.covered in unsound if fault.covered else not unsound
    assert fault.mutated in said(proof) if fault.mutated else not said(proof)
    tables = {re.split(r"[ .]", one)[0] for one in said(proof)}
    assert tables == set(re.split(r"[ .]", fault.mutated)[:1]) - {""}  # and no other table is blamed
    assert proof.sound is not bool(unsound or fault.mutated)


async def test_what_a_trigger_records_counts(database_url: str) -> None:
    fault = FAULTS["a trigger that records only where a row went"]
    await prepared(database_url, *fault.tables)
    proof = await mutate(database_url, fault.domain)
    (moved,) = [one for one in proof.tried if str(one) == "staff.agent_id"]
    assert moved.missed["inbox"].events == ["desk.staff_changed"]
    assert moved.needless["inbox"].invalidated > moved.needless["inbox"].unchanged


async def test_what_is_invalidated_without_need_is_counted(database_url: str) -> None:
    await prepared(database_url)
    proof = await mutate(database_url, desk())
    needless = {f"{change} {view.view}" for change, view in proof.needless}
    assert "tickets.title inbox" in needless
    assert "tickets.status inbox" not in needless


@pytest.mark.parametrize("clock", ["clock_timestamp()", "now()"])
async def test_an_entry_that_changes_by_itself_is_said_and_not_compared(
    clock: str, database_url: str
) -> None:
    await prepared(database_url)
    proof = await mutate(database_url, desk(boards=BOARDS.replace("title", f"title, {clock}")))
    assert "team:1/board" in proof.unstable
    assert proof.missed == []
    assert proof.untouched == ["board"]
    assert not proof.sound


async def test_an_event_that_no_row_gives_is_believed_and_said(database_url: str) -> None:
    class Unmade(TICKETS.event):  # type: ignore[misc,name-defined]
        kind = "desk.unmade"
        audience: tuple[int, ...]

    await prepared(database_url)
    faulty = replace(desk(), rules=(replace(TICKETS, event=Unmade), STAFF, TEAMS))
    proof = await mutate(database_url, faulty)
    (title,) = [one for one in proof.tried if str(one) == "tickets.title"]
    assert (title.believed, title.missed) == (["desk.unmade"], {})

    async def fields(_session: AsyncSession, row: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"audience": (), "team_id": row["team_id"]}

    proof = await mutate(database_url, faulty, fields={Unmade: fields})
    (title,) = [one for one in proof.tried if str(one) == "tickets.title"]
    assert (title.believed, title.missed, title.effective > 0) == ([], {}, True)


async def test_a_view_that_no_change_changes_is_not_proven(database_url: str) -> None:
    await prepared(
        database_url, "CREATE RULE nothing AS ON UPDATE TO tickets DO INSTEAD NOTHING", "TRUNCATE staff"
    )
    constant = "SELECT id, 1 FROM teams WHERE id = ANY(:ids)"
    proof = await mutate(database_url, desk(boards=constant))
    assert "board" in proof.untouched
    assert not proof.sound


async def test_a_connection_that_breaks_proves_nothing(database_url: str) -> None:
    loads = 0

    async def breaks(session: AsyncSession, keys: Keys) -> Values:
        nonlocal loads
        loads += 1
        if loads > 20:
            await session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
        found: Values = await loader(BOARDS)(session, keys)
        return found

    await prepared(database_url)
    with pytest.raises(DatabaseUnavailable):
        await mutate(database_url, desk(boards=breaks))


async def test_nothing_remains_of_a_change(database_url: str) -> None:
    await prepared(database_url)
    engine = engine_of(database_url)
    query = text("SELECT string_agg(t::text, ',' ORDER BY t::text) FROM tickets t")
    async with engine.connect() as connection:
        before = await connection.scalar(query)
    assert (await mutate(database_url, desk())).tried
    async with engine.connect() as connection:
        assert await connection.scalar(query) == before
        assert not await connection.scalar(text("SELECT count(*) FROM stoker.cache_events"))
    await engine.dispose()


async def test_an_application_asserts_it(place: Place) -> None:
    await prepared(place.database_url)
    async with Stoker.opened(place.settings(), desk()) as stoker:
        await assert_covered(stoker)
        with pytest.raises(AssertionError, match=r"never changed: .*tickets\.title inbox"):
            await assert_covered(stoker, needless={"teams.lead_id board"})
    for name, what in {
        "a rule forgets a view": "changed team:2/board, which desk.ticket_changed did not invalidate",
        "a loader reads a new column": r"a change of tickets\.priority changed \S+, and nothing recorded it"
        r".*board reads what nothing records: tickets\.priority",
    }.items():
        async with Stoker.opened(place.settings(), FAULTS[name].domain) as stoker:
            with pytest.raises(AssertionError, match=what):
                await assert_covered(stoker)
    async with Stoker.opened(place.settings(), FAULTS["a rule forgets a view"].domain) as stoker:
        await assert_covered(stoker, mutate=False)


async def says_nothing(_session: AsyncSession, keys: Keys) -> Values:
    return dict.fromkeys(keys, "")


async def raises(_session: AsyncSession, keys: Keys) -> Values:
    raise KeyError(keys[0].view)


sound = desk()
faulty = FAULTS["a rule forgets a view"].domain
uncovered = FAULTS["a loader reads a new column"].domain
unseen = desk(boards=says_nothing)
raising = desk(boards=raises)
"""Domains that the setting `domain` names."""


@pytest.mark.parametrize(("name", "code", "missed"), [("sound", 0, 0), ("faulty", 1, 6)])
def test_the_command_exits_with_1_where_something_is_missed(
    name: str, code: int, missed: int, tmp_path: Path, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    finished(prepared(database_url))
    environment = {"DATABASE_URL": database_url, "STOKER__DOMAIN": f"{__name__}:{name}"}
    done = call(tmp_path, environment, "cover", "--mutate", "--json", capture=capsys)
    assert done.returncode == code, done.stderr
    found = json.loads(done.stdout)
    assert (found["sound"], found["missed"]) == (not code, missed)
    assert "trying changes: " in done.stderr


async def test_the_library_is_covered(place: Place) -> None:
    await migrate(place.database_url, library, only="domain")
    async with Stoker.opened(place.settings(), library) as stoker:
        async with stoker.session() as session, session.begin():
            await session.execute(text("INSERT INTO shelves VALUES ('a', 'A'), ('b', 'B'), ('c', 'C')"))
            titles = "INSERT INTO books (shelf_id, title) VALUES ('a', 'One'), ('a', 'Two'), ('b', 'Three')"
            await session.execute(text(titles))
        # A shelf's own event invalidates every view of it: it is rare, and needs no second rule.
        await assert_covered(stoker, needless={"shelves.label titles", "shelves (row removed) titles"})


def test_check_says_in_one_line_what_is_not_covered(
    tmp_path: Path, database_url: str, server_urls: Urls, capsys: pytest.CaptureFixture[str]
) -> None:
    finished(prepared(database_url))
    environment = {
        "DATABASE_URL": database_url,
        "REDIS_URL": server_urls.queue,
        "CACHE_REDIS_URL": server_urls.cache,
    }
    for name, said in {
        "sound": "",
        "uncovered": "nothing records changes of 1 of the 9 columns that views read: tickets.priority; run",
        "unseen": "not all that these views read can be seen: board; run stoker cover",
        "raising": "coverage: raised by the loader of view board for 1 sample entries: KeyError: 'board'",
    }.items():
        where = {**environment, "STOKER__DOMAIN": f"{__name__}:{name}"}
        done = call(tmp_path, where, "check", capture=capsys)
        assert done.returncode == 0, done.stdout
        assert (said in done.stdout, "cover" in done.stdout) == (True, bool(said))
