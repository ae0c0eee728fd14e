"""Events, requests of jobs and savepoints in any order (row 43), with a list per savepoint as the model.

What was recorded or requested in a transaction that committed is in its table, once; what was in a savepoint
that was rolled back is not; receipts and rings say the same. The application's own listeners record, flush
and open savepoints while the session commits. `HYPOTHESIS_PROFILE=long` tries far more.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any, ClassVar

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.orm import Session, SessionTransaction

import stoker.outbox.pending
from stoker import Receipt, Refresh
from stoker.outbox.databases import INSTALLATION
from stoker.outbox.record import Outbox
from stoker.outbox.requests import Requests
from tests.races import test_state_machine  # noqa: F401 - registers the profiles
from tests.support.notes import NoteChanged, Notes

DEEPEST = 4
EVENTS = text("SELECT id, CAST(payload->>'note_id' AS int) AS number FROM stoker.cache_events ORDER BY id")
REQUESTS = text(
    "SELECT job_id AS id, CAST(arguments->>'scope_id' AS int) AS number FROM stoker.job_requests ORDER BY seq"
)
STATEMENTS = ("SELECT 1", "INSERT INTO stoker.audit_log (actor, action, arguments) VALUES ('a', 'b', '{}')")
LATE = st.sampled_from(("record", "flush", "savepoint"))


class Silence:
    """Takes the place of the ringer."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def soon_from_thread(self, told: Sequence[Any]) -> None:
        """Rings nobody."""
        self.told += told


class Machine(RuleBasedStateMachine):
    """`held[0]` are the transaction's own events, those behind it its open savepoints'."""

    engine: ClassVar[Engine]
    nowhere: ClassVar[AsyncEngine]
    installation: ClassVar[str]
    numbers: ClassVar[Iterator[int]]

    def __init__(self) -> None:
        super().__init__()
        self.rung, self.rung_for_requests = Silence(), Silence()
        ringers: Any = (self.rung, self.rung_for_requests)
        self.outbox = Outbox(Notes().domain, self.nowhere, self.installation, ringers)
        self.requests = Requests(self.nowhere)
        self.session = Session(self.engine)
        self.held: list[list[int]] = [[]]
        self.savepoints: list[SessionTransaction] = []
        self.receipts: dict[int, Receipt] = {}
        self.requested: set[int] = set()
        self.committed: list[int] = []
        self.late: str | None = None
        event.listen(self.session, "before_commit", self._listen)

    @rule()
    def record(self) -> None:
        number = next(self.numbers)
        self.receipts[number] = self.outbox.record(self.session, NoteChanged(note_id=number))
        self.held[-1].append(number)

    @rule()
    def request(self) -> None:
        number = next(self.numbers)
        job = Refresh(view="note", scope_id=str(number))
        self.requests.add(*self.outbox.pending(self.session), job, None)
        self.requested.add(number)
        self.held[-1].append(number)

    @rule(statement=st.sampled_from(STATEMENTS))
    def use(self, statement: str) -> None:
        self.session.execute(text(statement))

    @rule()
    def flush(self) -> None:
        self.session.flush()

    @rule()
    def forget(self) -> None:
        self.session.expunge_all()

    @precondition(lambda self: len(self.savepoints) < DEEPEST)
    @rule()
    def begin_savepoint(self) -> None:
        self.savepoints.append(self.session.begin_nested())
        self.held.append([])

    @precondition(lambda self: self.savepoints)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        at = data.draw(st.integers(0, len(self.savepoints) - 1))
        self.savepoints[at].commit()
        kept = [number for held in self.held[at + 1 :] for number in held]
        del self.savepoints[at:], self.held[at + 1 :]
        self.held[-1] += kept

    @precondition(lambda self: self.savepoints)
    @rule(data=st.data())
    def roll_back_to(self, data: st.DataObject) -> None:
        at = data.draw(st.integers(0, len(self.savepoints) - 1))
        self.savepoints[at].rollback()
        del self.savepoints[at:], self.held[at + 1 :]

    @rule()
    def roll_back(self) -> None:
        self.session.rollback()
        self.savepoints, self.held = [], [[]]

    @rule(late=st.none() | LATE, whole=st.booleans())
    def commit(self, late: str | None, *, whole: bool) -> None:
        outermost = self.session.get_transaction()
        self.late = late
        if whole or outermost is None:
            self.session.commit()
        else:
            outermost.commit()
        self.committed += [number for held in self.held for number in held]
        self.savepoints, self.held, self.late = [], [[]], None
        self._compare()

    def teardown(self) -> None:
        self.session.close()
        self._compare()

    def _listen(self, session: Session) -> None:
        late, self.late = self.late, None
        if late == "savepoint":
            with session.begin_nested():
                session.execute(text(STATEMENTS[1]))
        elif late == "flush":
            session.flush()
        if late is not None:
            self.record()
            self.request()

    def _compare(self) -> None:
        committed = sorted(self.committed)
        recorded = [number for number in committed if number in self.receipts]
        requested = [number for number in committed if number in self.requested]
        with self.engine.connect() as connection:
            events = [row for row in connection.execute(EVENTS) if row.number in self.receipts]
            requests = [row for row in connection.execute(REQUESTS) if row.number in self.requested]
        assert sorted(row.number for row in events) == recorded, "what is recorded is not what committed"
        assert sorted(row.number for row in requests) == requested, "what is requested is not what committed"
        told = {number: receipt._event_id for number, receipt in self.receipts.items() if receipt._event_id}
        assert told == {row.number: row.id for row in events}, "receipts say otherwise"
        assert sorted(self.rung.told) == [row.id for row in events]
        delivered = sorted(one.job_id for one in self.rung_for_requests.told)
        assert delivered == sorted(row.id for row in requests), "what is delivered is not what committed"


@pytest.fixture
def machine(database_url: str) -> Iterator[type[Machine]]:
    Machine.engine = create_engine(database_url.replace("+asyncpg", "+psycopg"))
    Machine.nowhere = create_async_engine(database_url)  # for receipts, which nobody follows here
    Machine.numbers = count(1)
    with Machine.engine.connect() as connection:
        Machine.installation = connection.scalars(INSTALLATION).one()
    yield Machine
    Machine.engine.dispose()


def test_events_are_recorded_exactly_with_what_commits(machine: type[Machine]) -> None:
    profile = settings.get_profile(os.environ.get("HYPOTHESIS_PROFILE", "short"))
    run_state_machine_as_test(machine, settings=settings(profile, max_examples=5 * profile.max_examples))


def test_an_event_that_is_lost_is_found(machine: type[Machine], monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine can fail: without this guard it does."""
    monkeypatch.setattr(stoker.outbox.pending, "_is_outermost", lambda _: True)
    quick = settings(settings.get_profile("short"), phases=[Phase.generate], print_blob=False)
    with pytest.raises(AssertionError, match="is not what committed"):
        run_state_machine_as_test(machine, settings=settings(quick, max_examples=500))
