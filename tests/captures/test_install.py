"""Making, comparing and dropping triggers."""

from __future__ import annotations

import threading
from dataclasses import replace

import psycopg
import pytest

from stoker import Capture, DeclarationError, Domain, Event, Invalidation, Rule, ScopeKind
from tests.captures.conftest import TICKET, TICKETS, Db, TenantChanged, TicketChanged


def test_a_second_time_there_is_nothing_to_do(tickets: Db) -> None:
    assert [one.state for one in tickets.compare(TICKET)] == ["same"]
    assert tickets.install(TICKET) == []


def test_a_changed_declaration_is_found_and_takes_effect(tickets: Db) -> None:
    wider = replace(TICKET, columns=("status", "seen"))
    [found] = tickets.compare(wider)
    assert found.state == "changed"
    assert len(tickets.install(wider)) == 1
    assert tickets.recorded("UPDATE tickets SET seen = 1 WHERE id = 3") == [{"ticket": 3, "tenant": 20}]


def test_what_is_not_declared_any_more_is_dropped(tickets: Db) -> None:
    assert tickets.install() == ["dropped the capture of public.tickets (test.ticket_changed)"]
    assert tickets.recorded("DELETE FROM tickets") == []
    assert tickets.compare() == []


def test_a_trigger_that_was_disabled_is_found_and_enabled(tickets: Db) -> None:
    tickets.run("ALTER TABLE tickets DISABLE TRIGGER USER")
    assert tickets.recorded("DELETE FROM tickets WHERE id = 1") == []
    assert [one.state for one in tickets.compare(TICKET)] == ["missing"]
    tickets.install(TICKET)
    assert tickets.recorded("DELETE FROM tickets WHERE id = 3") == [{"ticket": 3, "tenant": 20}]


def test_what_was_written_before_the_triggers_stood_is_invalidated(db: Db) -> None:
    """`Db.install` forgets what was recorded; here it is asked for."""
    db.run(TICKETS)
    db.install(TICKET)
    db.run("ALTER TABLE tickets DISABLE TRIGGER USER; CREATE TABLE kept (payload jsonb, scopes jsonb)")
    db.run(
        "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " INSERT INTO kept VALUES (NEW.payload, NEW.scopes); RETURN NULL; END $$;"
        "CREATE TRIGGER keep AFTER INSERT ON stoker.cache_events FOR EACH ROW EXECUTE FUNCTION keep()"
    )
    db.install(TICKET)
    assert db.run("SELECT * FROM kept") == [(None, [["*", "", [], 1, 1]])]


def test_a_busy_table_is_waited_for_in_short_turns(db: Db) -> None:
    """Its writers go on: only while a turn lasts does a new one wait."""
    db.run(TICKETS)
    db.install()  # the application's own are dropped
    said: list[str] = []
    busy = threading.Event()

    def say(line: str) -> None:
        said.append(line)
        if len(said) == 2:
            busy.set()

    with psycopg.connect(db.plain_url) as writer:
        writer.execute("UPDATE tickets SET status = 'held'")

        def release() -> None:
            busy.wait()
            with psycopg.connect(db.plain_url, autocommit=True) as other:
                other.execute("SET lock_timeout = '5s'; UPDATE tickets SET seen = 1 WHERE false")
            writer.commit()

        releasing = threading.Thread(target=release)
        releasing.start()
        done = db.install(TICKET, say=say)
        releasing.join()
    assert done == ["made the triggers of public.tickets (test.ticket_changed)"]
    assert said[0] == "public.tickets is busy: trying again in 0.05 s"


@pytest.mark.parametrize(
    ("capture", "said"),
    [
        (replace(TICKET, table="nowhere"), "there is no such table"),
        (replace(TICKET, table='bad "name'), "there is no such table"),
        (replace(TICKET, columns=("colour",)), "it has no column 'colour'; there are: id, tenant_id"),
        (replace(TICKET, table="a_view"), "only tables can be captured"),
        (
            Capture("tickets", TicketChanged, {"ticket": "id", "tenant": "nullable"}),
            "'nullable' may be NULL, which TicketChanged.tenant does not take",
        ),
    ],
)
def test_what_does_not_fit_the_table_is_refused(db: Db, capture: Capture, said: str) -> None:
    db.run(f"{TICKETS}; ALTER TABLE tickets ADD nullable int; CREATE VIEW a_view AS SELECT 1 AS id")
    with pytest.raises(DeclarationError, match=said):
        db.install(capture)


def test_a_virtual_generated_column_is_refused(db: Db) -> None:
    if db.connection.info.server_version < 180000:
        pytest.skip("this Postgres has none")
    db.run("CREATE TABLE made (id int PRIMARY KEY, twice int GENERATED ALWAYS AS (id * 2) VIRTUAL)")
    with pytest.raises(DeclarationError, match="virtual generated column"):
        db.install(Capture("made", TenantChanged, {"tenant": "id"}, columns=("twice",)))


@pytest.mark.parametrize(
    ("declare", "said"),
    [
        (lambda: Capture("", TicketChanged, {}), "needs the name of a table"),
        (lambda: Capture("t", str, {}), "`event` must be a subclass of Event"),  # type: ignore[arg-type]
        (lambda: Capture("t", TicketChanged, {"ticket": "id"}), "no column for the field 'tenant'"),
        (lambda: Capture("t", TenantChanged, {"x": "id"}), "has no field 'x'; it has: tenant"),
        (lambda: Capture("t", TenantChanged, {"tenant": "id"}, columns="id"), "must be a tuple of columns"),  # type: ignore[arg-type]
        (lambda: Capture("t", TenantChanged, {"tenant": "id"}, views="page"), "must be a set of views"),  # type: ignore[arg-type]
        (lambda: Capture("t", TenantChanged, {"tenant": "id"}, most=0), "1 or more"),
        (lambda: _domain(Capture("t", TenantChanged, {"tenant": "id"})), "no rule for TenantChanged"),
        (
            lambda: _domain(Capture("t", _Known, {"tenant": "id"}, views=frozenset({"pgae"}))),
            "no view 'pgae'; there are: none",
        ),
        (lambda: _domain(*[Capture("t", _Known, {"tenant": "id"})] * 2), "declared twice: capture t"),
    ],
)
def test_a_declaration_that_cannot_be_is_refused_where_it_is_made(declare: object, said: str) -> None:
    with pytest.raises(DeclarationError, match=said):
        declare()  # type: ignore[operator]


class _Known(Event):
    kind = "test.known"
    tenant: int


def _domain(*captures: Capture) -> Domain:
    tenant = ScopeKind("tenant")
    rule = Rule(_Known, lambda event: [Invalidation(tenant.scope(event.tenant))])
    return Domain(name="d", scopes=(tenant,), views=(), rules=(rule,), captures=captures)
