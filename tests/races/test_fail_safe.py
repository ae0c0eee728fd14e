"""A failing loader never brings back a value that was invalidated hard (rows 22, 33)."""

from __future__ import annotations

from contextlib import suppress

import pytest

from stoker import Invalidation, State
from tests.races.race import race
from tests.races.world import World, never, no_error
from tests.support.notes import NoteChanged, NoteDeleted, note


@race("the hard stamp")
async def test_fail_safe_does_not_bring_back_what_was_deleted(world: World) -> None:
    """Row 22. After a hard invalidation nothing old is served, even if the loader fails."""
    process = await world.warmed()
    await world.write("v2", event=NoteDeleted(note_id=1, readers=(1,)))
    await process.apply()
    process.notes.failing["detail"] = RuntimeError("no SQL")
    await _answers_nothing(world)


async def _answers_nothing(world: World) -> None:
    try:
        shown = await world.first.read()
    except RuntimeError:
        return
    never(f"{shown.state} {shown.value} was served", happened=True)


@race("the hard stamp")
@pytest.mark.parametrize("between", ["", "read between"])
@pytest.mark.parametrize("order", ["soft, hard", "hard, soft"])
async def test_no_order_of_soft_and_hard_serves_the_old_value(world: World, order: str, between: str) -> None:
    """Row 33. Two stamps: the soft one's return does not bring back the hard one's."""
    process = await world.warmed()
    process.notes.failing["detail"] = RuntimeError("no SQL")
    for kind in order.split(", "):
        await world.write("v2", event=NoteDeleted(note_id=1) if kind == "hard" else NoteChanged(note_id=1))
        await process.apply()
        if between:  # which takes new stamps
            with suppress(RuntimeError):
                await process.read()
    await _answers_nothing(world)


@race("fail-safe")
async def test_a_failing_loader_does_not_hide_that_the_answer_is_old(world: World) -> None:
    """Row 22, the opposite case. After a soft invalidation the last value is served, marked stale."""
    process = await world.warmed()
    await world.change("v2")
    process.notes.failing["detail"] = RuntimeError("no SQL")
    with no_error():
        stale = await process.read()
    assert (stale.value["body"], stale.state) == ("v1", State.STALE)


@race("no fail-safe for access")
async def test_rights_are_never_served_from_before(world: World) -> None:
    """Row 22. Fail-safe never serves access, read by itself or not."""
    process = await world.warmed()
    await process.stoker.invalidate_now([Invalidation(note(1), frozenset({"access"}))])
    process.notes.failing["access"] = RuntimeError("no SQL")
    with suppress(RuntimeError):
        shown = await process.read(view="access")
        never(f"{shown.state} {shown.value} was served", happened=True)
