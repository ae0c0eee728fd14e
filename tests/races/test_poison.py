"""An event that cannot be applied delays no other event (row 36)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from stoker import (
    DatabaseUnavailable,
    Invalidation,
)
from tests.races.race import race
from tests.races.world import World, applies, never
from tests.support.notes import Poison, note


async def unsettled(world: World) -> int:
    """How many events wait."""
    return int(await world.sql("SELECT count(*) FROM stoker.cache_events WHERE settled_at IS NULL"))


@race("failing events alone")
async def test_a_poisonous_event_does_not_keep_the_others_from_being_applied(world: World) -> None:
    """Row 36. Its row alone backs off; the others proceed."""
    await world.warmed()
    await world.write("v2")
    await world.write("v2", event=Poison(note_id=2))
    await world.write("v2", event=Poison(note_id=3))
    assert await applies(world.first) == 1
    await world.must_show("v2")
    rows = await world.sql(
        "SELECT count(*) FROM stoker.cache_events WHERE attempts = 1 AND error LIKE '%poison%'"
    )
    assert rows == 2
    assert await world.first.apply() == 0, "they back off"
    world.first.notes.rule_error = None
    await world.sql("UPDATE stoker.cache_events SET due_at = clock_timestamp()")
    assert await world.first.apply() == 2
    assert await unsettled(world) == 0


async def _too_large(session: AsyncSession, _events: Sequence[Poison]) -> list[Invalidation]:
    await session.execute(text("SELECT id FROM notes WHERE id = :id"), {"id": 2**63})
    return []


async def _too_slow(session: AsyncSession, _events: Sequence[Poison]) -> list[Invalidation]:
    await session.execute(text("SET LOCAL statement_timeout = 1"))
    await session.execute(text("SELECT pg_sleep(60)"))
    return []


async def _not_sql(session: AsyncSession, _events: Sequence[Poison]) -> list[Invalidation]:
    await session.execute(text("SELECT nothing FROM nowhere"))
    return []


@race("events of which nothing was applied")
@pytest.mark.parametrize(
    "scopes", ["{}", "[7]", '["note"]', '[["note", "1", "detail", 0, 0]]', '[{"note": 1}]']
)
async def test_an_event_that_cannot_be_read_does_not_leave_stale_pages(world: World, scopes: str) -> None:
    """Rows 30, 36, 38. It is put off and alarms like another; but of this one nothing was applied."""
    process = await world.warmed()
    await world.write("v2")
    await world.sql("UPDATE stoker.cache_events SET scopes = CAST(:scopes AS jsonb)", scopes=scopes)
    await world.sql("UPDATE stoker.cache_events SET recorded_at = recorded_at - interval '1 hour'")
    assert await applies(process) == 0
    await process.stoker.cache.breaker.check()
    shown = await process.body()
    never(f"{shown} is shown after an hour", happened=shown != "v2")


@race("additions of newer releases passed over")
async def test_what_a_newer_release_adds_to_a_scope_does_not_keep_it_from_being_applied(world: World) -> None:
    """Row 30. Rolled back, or mixed: the scope is read up to where this release knows it."""
    await world.warmed()
    await world.write("v2")
    scopes = '[["note", "1", ["detail"], 0, 1, "of a newer release"]]'
    await world.sql("UPDATE stoker.cache_events SET scopes = CAST(:scopes AS jsonb)", scopes=scopes)
    never("the event is not applied", happened=await applies(world.first) != 1)
    await world.must_show("v2")


@race("failing events alone")
@pytest.mark.parametrize("rule", [_too_large, _too_slow, _not_sql])
async def test_a_rule_that_fails_in_sql_does_not_keep_others_waiting(world: World, rule: Any) -> None:  # noqa: ANN401
    """Row 36. A number that is no bigint, a query that takes too long, a mistake: the row's own fault."""
    await _applied_beside(world, rule)


@race("a rule's timeout being its own fault")
async def test_a_rule_that_takes_too_long_does_not_count_as_an_outage(world: World) -> None:
    """Row 36. A statement's timeout leaves the connection as it was."""
    await _applied_beside(world, _too_slow)


class Unspeakable(Exception):
    """An error that has no text."""

    def __str__(self) -> str:
        """Fail."""
        raise ValueError


@race("errors that can be stored")
@pytest.mark.parametrize("error", [RuntimeError("a NUL: \0"), RuntimeError("half a pair: \ud800")])
async def test_an_error_that_postgres_refuses_does_not_keep_others_waiting(
    world: World, error: Exception
) -> None:
    """Row 36. What the rule says of itself is written with the batch."""
    world.first.notes.rule_error = error
    await _applied_beside(world, world.first.notes._poisoned)


@race("texts of errors as errors")
async def test_an_error_without_a_text_does_not_keep_others_waiting(world: World) -> None:
    """Row 36. `str()` of an application's error may raise."""
    world.first.notes.rule_error = Unspeakable()
    await _applied_beside(world, world.first.notes._poisoned)


@race("answers of rules checked")
@pytest.mark.parametrize(
    "answer",
    [["note"], [("note:2",)], [None]],
)
async def test_a_rule_that_answers_something_else_does_not_keep_others_waiting(
    world: World,
    answer: Any,  # noqa: ANN401 - what no type checker has seen
) -> None:
    """Row 36. Texts, tuples, nothing at all."""

    async def answers(*_: object) -> Any:  # noqa: ANN401 - as above
        return answer

    await _applied_beside(world, answers)


@race()
async def test_an_audience_that_names_an_unknown_view_is_told_so_and_tried_again(world: World) -> None:
    """Row 36. A misspelt view in a rule alarms; ignored, the page would stay stale."""

    async def mistyped(*_: object) -> list[Invalidation]:
        return [Invalidation(note(2), {"detial"})]

    await _applied_beside(world, mistyped)
    error = await world.sql("SELECT error FROM stoker.cache_events WHERE attempts = 1")
    assert "names 'detial', which is no view of note; there are: access, detail, summary" in error


async def _applied_beside(world: World, rule: Any) -> None:  # noqa: ANN401 - a rule's audience
    process = world.first
    for declared in process.notes.domain.rules:
        if declared.event is Poison:
            object.__setattr__(declared, "audience", rule)
    await world.warmed()
    await world.write("v2")
    await world.write("v2", event=Poison(note_id=2))
    assert await applies(process) == 1
    await world.must_show("v2")


@race()
async def test_an_outage_of_sql_in_a_rule_is_not_the_events_fault(world: World) -> None:
    """Row 36, the opposite case. The connection ends inside a rule: nothing is settled or postponed."""
    process = world.first

    async def ends(session: AsyncSession, _events: Sequence[Poison]) -> list[Invalidation]:
        await session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
        return []

    for declared in process.notes.domain.rules:
        if declared.event is Poison:
            object.__setattr__(declared, "audience", ends)
    await world.write("v2", event=Poison(note_id=1))
    with pytest.raises(DatabaseUnavailable):
        await process.apply()
    assert await world.sql("SELECT count(*) FROM stoker.cache_events WHERE attempts = 0") == 1
