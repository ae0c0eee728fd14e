"""Why a reader sees what it sees: explain, events, compare with SQL, and what the verifier found."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from stoker import Refresh, Stoker
from stoker.errors import CacheUnavailable, InvalidParams, NotFound, UnknownView
from stoker.handlers.relay import apply_all
from stoker.handlers.verify import verify_entries
from stoker.operations import comparing, events, findings
from stoker.operations.audit import Actor, audited
from stoker.operations.comparing import Match
from stoker.operations.entries import EntryState
from stoker.operations.events import EventChoice, EventState
from stoker.operations.explain import Builder, explain
from stoker.operations.overview import overview
from stoker.outbox.record import InvalidationRequested
from stoker.process_name import process_name
from stoker.rules import Invalidation
from stoker.settings import Settings
from stoker.worker.process import run_worker
from tests.support.callers import OPERATOR, TOKENS, VIEWER, client
from tests.support.notes import NoteChanged, Notes, Poison, note, write_notes
from tests.support.place import Place

ANN = Actor("ann")


@pytest.fixture
def settings(place: Place) -> Settings:
    return place.settings(
        cache={"near_bytes": 0, "stats_flush_s": 0.1},
        schedule={"enable_background_warming": False},
        changes={"refresh_hot": False},  # the test asks for the one refresh itself
        api={"tokens": TOKENS},
    )


@pytest.fixture
async def stoker(settings: Settings) -> AsyncIterator[Stoker]:
    async with Stoker.opened(settings, Notes().domain) as stoker:
        async with stoker.session() as session, session.begin():
            await write_notes(session, 3)
        await stoker.read("detail", 1, reader=7)
        yield stoker


async def test_explain_says_what_reads_do_while_the_cache_is_away(place: Place) -> None:
    away = place.settings().model_copy(update={"cache_redis_url": SecretStr("redis://127.0.0.1:1/0")})
    async with Stoker.opened(away, Notes().domain) as stoker:
        with pytest.raises(CacheUnavailable, match="until it answers, note:1/detail is read from SQL"):
            await explain(stoker, "detail", 1)


async def change(stoker: Stoker, note_id: int = 1, body: str = "new") -> int:
    async with stoker.session() as session, session.begin():
        await session.execute(
            text("UPDATE notes SET body = :body WHERE id = :id"), {"body": body, "id": note_id}
        )
        receipt = stoker.record(session, NoteChanged(note_id=note_id))
    assert receipt.event_id is not None
    return receipt.event_id


async def behind_the_back(stoker: Stoker, note_id: int = 1) -> None:
    async with stoker.session() as session, session.begin():
        await session.execute(text("UPDATE notes SET body = 'unrecorded' WHERE id = :id"), {"id": note_id})


@pytest.mark.parametrize(("token", "readers"), [(OPERATOR, {"7": "reader"}), (VIEWER, {})])
async def test_only_operators_are_told_who_may_read(
    stoker: Stoker, settings: Settings, token: str, readers: dict[str, str]
) -> None:
    async with client(stoker, settings, token) as caller:
        answer = await caller.get("/api/cache/explain", params={"view": "detail", "id": "1"})
    assert answer.json()["access"]["readers"] == readers


async def test_an_entry_is_explained_before_and_after_a_change(stoker: Stoker) -> None:
    found = await explain(stoker, "detail", "1")
    assert found.entry.state is EntryState.VALID
    assert found.says[0].startswith("A read is served this entry")
    assert [stamp.present for stamp in found.stamps] == [True, True]
    assert found.builder is not None
    assert (found.builder.by, found.builder.process, found.builder.job_id) == ("read", process_name(), None)
    event_id = await change(stoker)
    found = await explain(stoker, "detail", "1")
    assert f"the oldest (event {event_id})" in found.says[1], "the change is not applied yet"
    assert found.entry.state is EntryState.VALID
    await apply_all(stoker)
    found = await explain(stoker, "detail", "1", reader="7")
    assert found.says == [
        f"A read builds it: the entry that is there was invalidated, last by note.changed (event {event_id})."
    ]
    (event,) = found.events
    assert (event.id, event.state, event.applied_by) == (event_id, EventState.APPLIED, process_name())
    assert event.recorded_by == "application"
    assert 0 < event.lag_s < 60
    assert list(found.rules) == ["note.changed"]
    assert "notes" in found.rules["note.changed"]
    assert (found.access.number, found.access.role) == (1, "reader")
    assert (await explain(stoker, "detail", "1", reader="8")).access.role is None


@pytest.mark.parametrize(
    ("view", "params", "error"), [("nothing", None, UnknownView), ("detail", {"page": 1}, InvalidParams)]
)
async def test_what_does_not_exist_is_not_explained(
    stoker: Stoker, view: str, params: dict[str, int] | None, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await explain(stoker, view, "1", params)


def test_a_rule_that_is_a_lambda_is_named_with_its_line() -> None:
    domain = Notes().domain
    assert re.search(r"<lambda> \(line \d+\)$", str(events.rule_of(domain, Poison.kind)))
    assert "line" not in str(events.rule_of(domain, NoteChanged.kind))


async def test_an_event_that_needs_no_rule_is_told_from_one_without_a_rule(stoker: Stoker) -> None:
    async with stoker.session() as session, session.begin():
        stoker.record(session, InvalidationRequested.of([Invalidation(note(1))]))
    async with stoker.engine.begin() as connection:
        event_id = await connection.scalar(text("SELECT max(id) FROM stoker.cache_events"))
    assert event_id is not None
    none_needed = "none needed: the event names its scopes"
    assert (await events.trail(stoker, event_id)).rule == none_needed
    assert (await explain(stoker, "detail", "1")).rules == {InvalidationRequested.kind: none_needed}
    async with stoker.engine.begin() as connection:
        await connection.execute(text("UPDATE stoker.cache_events SET kind = 'of.yesterday'"))
    assert (await events.trail(stoker, event_id)).rule is None
    assert (await explain(stoker, "detail", "1")).rules == {"of.yesterday": "none in this release"}


async def test_an_event_that_nobody_has_read_since_says_so(stoker: Stoker) -> None:
    await stoker.accounting.flush(stoker.cache.store.client, stoker.cache.store.keys)
    event_id = await change(stoker)
    await apply_all(stoker)
    steps = (await events.trail(stoker, event_id)).steps
    assert [step.what for step in steps] == ["recorded", "applied", "no build or read known"]


async def test_a_read_that_built_after_an_event_is_known(stoker: Stoker) -> None:
    event_id = await change(stoker)
    await apply_all(stoker)
    await stoker.read("detail", 1, reader=7)
    built = [step for step in (await events.trail(stoker, event_id)).steps if step.what == "last built"]
    assert sorted((step.who, step.about) for step in built) == [
        (process_name(), "note:1/access: by read"),
        (process_name(), "note:1/detail: by read"),
    ]


async def test_a_report_of_reads_that_may_have_been_before_an_event_says_so(place: Place) -> None:
    """A process that reports once a minute: its report covers a read of before the event."""
    settings = place.settings(cache={"near_bytes": 0, "stats_flush_s": 60})
    async with Stoker.opened(settings, Notes().domain) as slow:
        async with slow.session() as session, session.begin():
            await write_notes(session, 1)
        await slow.read("detail", 1, reader=7)
        event_id = await change(slow)
        await apply_all(slow)
        async with slow.engine.begin() as connection:  # a second ago, whatever the clocks of the servers
            await connection.execute(
                text("UPDATE stoker.cache_events SET settled_at = settled_at - interval '1 s'")
            )
        await slow.accounting.flush(slow.cache.store.client, slow.cache.store.keys)
        (read,) = (await events.trail(slow, event_id)).steps[2:]
    assert read.what == "last read"
    assert (
        read.about == "note:1/detail: at most 60 s before this report, perhaps before the event was applied"
    )


async def test_what_warming_built_says_so(stoker: Stoker) -> None:
    await stoker.cache.filler.fill_many([stoker.domain.key("detail", 2)])
    found = await explain(stoker, "detail", "2")
    assert found.builder == Builder(by="warming", process=process_name())


async def test_an_event_is_followed_from_its_commit_to_a_refresh_and_a_read(
    stoker: Stoker, settings: Settings
) -> None:
    stop = asyncio.Event()
    working = asyncio.create_task(run_worker(stoker, settings, stop))
    event_id = await change(stoker)
    await until(stoker, event_id, "applied")
    await stoker.enqueue(Refresh(view="detail", scope_id="1"))
    await until(stoker, event_id, "refreshed")
    await stoker.read("detail", 1, reader=7)
    await until(stoker, event_id, "last read")
    trail = (await events.trail(stoker, event_id)).steps
    steps = {step.what: step for step in trail}
    assert sorted(steps) == ["applied", "last built", "last read", "recorded", "refreshed"]
    assert steps["applied"].who == process_name()
    assert steps["refreshed"].who == process_name()
    assert steps["refreshed"].about is not None
    assert "note:1/detail" in steps["refreshed"].about
    built = {step.about: step.who for step in trail if step.what == "last built"}
    assert built == {"note:1/access: by read": process_name(), "note:1/detail: by refresh": process_name()}
    assert (steps["last read"].about or "").startswith("note:1/detail: at most 0.1 s before this report")
    times = [steps[what].after_s or 0 for what in ("recorded", "applied", "refreshed")]
    assert times[0] == 0 < times[1] <= times[2]
    found = await explain(stoker, "detail", "1")
    assert found.builder is not None
    assert (found.builder.by, found.builder.process) == ("refresh", process_name())
    assert found.builder.job_id is not None
    assert found.builder.job_id in steps["refreshed"].about
    stop.set()
    await working


async def until(stoker: Stoker, event_id: int, what: str) -> None:
    """Wait until an event has come so far."""
    async with asyncio.timeout(60):
        while True:
            if what in [step.what for step in (await events.trail(stoker, event_id)).steps]:
                return
            await asyncio.sleep(0.02)


async def test_events_are_found_by_state_scope_and_page(stoker: Stoker) -> None:
    first = [await change(stoker, number) for number in (1, 2, 3)]
    await apply_all(stoker)
    waiting = await change(stoker, 2)

    async def ids(**given: object) -> list[int]:
        return [one.id for one in (await events.listing(stoker, EventChoice.model_validate(given))).events]

    assert await ids() == [waiting, *reversed(first)]
    assert await ids(state="waiting") == [waiting]
    assert await ids(scope="note:2") == [waiting, first[1]]
    assert await ids(kind="nothing") == []
    assert await ids(since="1h") == [waiting, *reversed(first)]
    page = await events.listing(stoker, EventChoice(limit=2))
    assert page.next == first[2]
    rest = await events.listing(stoker, EventChoice(limit=2, before=page.next))
    assert [one.id for one in rest.events] == [first[1], first[0]]
    assert (await events.listing(stoker, EventChoice(scope="note:9"))).searched == 4
    with pytest.raises(NotFound, match="there is no event 999"):
        await events.trail(stoker, 999)


async def test_comparing_finds_a_difference_and_heals_nothing(stoker: Stoker) -> None:
    right = await comparing.compare(stoker, ANN, "note", "1")
    assert {one.view: one.match for one in right.entries}["detail"] is Match.MATCHES
    await behind_the_back(stoker)
    for _ in range(2):  # the second time finds the same: the first healed nothing
        found = await comparing.compare(stoker, ANN, "note", "1", ["detail"])
        (entry,) = found.entries
        assert (entry.match, entry.differs, found.differing) == (Match.DIFFERS, ["body"], 1)
    missing = await comparing.compare(stoker, ANN, "note", "2", ["detail"])
    assert [one.match for one in missing.entries] == [Match.NOT_SERVED]
    assert (await findings.listing(stoker, 10)).findings == []
    done = await audited(stoker.engine, "ann", "cache", 10)
    assert [one.action for one in done.entries] == ["cache.compare"] * 4


async def test_a_stale_entry_is_a_concern_until_somebody_acknowledges_it(stoker: Stoker) -> None:
    async def concerns() -> list[str]:
        return [one.says for one in (await overview(stoker, 20)).concerns if one.about == "right"]

    await stoker.read("detail", 2, reader=7)
    await stoker.accounting.flush(stoker.cache.store.client, stoker.cache.store.keys)
    for number in (1, 2):
        await behind_the_back(stoker, number)
    await verify_entries(stoker, 100)
    found = await findings.listing(stoker, 10)
    assert {(one.scope, one.view, tuple(one.differs)) for one in found.findings} == {
        ("note:1", "detail", ("body",)),
        ("note:2", "detail", ("body",)),
    }
    assert await concerns() == ["2 entries found stale when compared with SQL, not acknowledged yet"]
    newest = found.findings[0].id
    assert (await findings.acknowledge(stoker, ANN, newest, only=newest)).acknowledged == 1
    assert await concerns() == ["1 entry found stale when compared with SQL, not acknowledged yet"]
    assert (await findings.acknowledge(stoker, ANN, newest)).acknowledged == 1
    assert await concerns() == []
    assert [one.acknowledged_by for one in (await findings.listing(stoker, 10, every=True)).findings] == [
        "ann",
        "ann",
    ]
