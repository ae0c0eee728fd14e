"""Warming leaves out entries that cannot be built (row 36)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from stoker import EntryKey, Refresh, Warm
from stoker.jobs import KeepWarm, Outcome, Verify
from tests.races.race import race
from tests.races.world import Process, World, never


def _break(process: Process, note_id: int) -> None:
    """Let the loader fail whenever it is asked for this note."""
    details = process.notes._details

    async def load(session: AsyncSession, keys: Sequence[EntryKey]) -> Mapping[EntryKey, Any]:
        if any(key.scope.number == note_id for key in keys):
            raise ValueError("cannot be built")
        return await details(session, keys)

    object.__setattr__(process.notes.domain.views_by_name["detail"], "load", load)


@race("what fails together built one by one")
async def test_an_entry_that_cannot_be_built_does_not_keep_the_others_cold(world: World) -> None:
    """Row 36. A failing batch is built entry by entry; the rest of the plan is built, too."""
    await world.sql("INSERT INTO notes SELECT id, 'x' FROM generate_series(2, 120) AS id")
    _break(world.first, 30)
    assert await world.first.task(Warm(target="active")) is Outcome.DONE
    cold = [one for one in range(1, 121) if await world.kept(note_id=one) is None]
    never(f"{len(cold)} of 120 are cold", happened=cold != [30])


@race("a warming of nothing failing")
async def test_a_loader_that_builds_nothing_at_all_does_not_count_as_success(world: World) -> None:
    """Row 36. When every entry fails, the job fails."""
    world.first.notes.failing["detail"] = RuntimeError("broken")
    try:
        await world.first.task(Warm(target="active"))
    except RuntimeError as error:
        assert str(error) == "broken"  # noqa: PT017 - that nothing is raised is a Fault
    else:
        never("the job ended as if it had built something", happened=True)


@race("keys of other releases left to them")
async def test_keys_of_another_release_do_not_stop_keep_warm_and_are_not_taken_for_ours(world: World) -> None:
    """Rows 30, 36. Keys that this release cannot have made are left to the one that did."""
    process = world.first
    store, accounting = process.stoker.cache.store, process.stoker.accounting
    foreign = (
        b'["detail","note","1","{\\"future\\":1}"]',
        b'["detail","reader","1",""]',
        b'["detail","note","x",""]',
        b'["detail","note","1",""]',
    )
    for member in foreign:
        accounting.read(member)
    await accounting.flush(store.client, store.keys)
    assert await process.task(KeepWarm()) is Outcome.DONE
    assert await world.kept() is not None
    assert await process.task(Verify(entries=100)) is Outcome.DONE
    outcome = await process.task(Refresh(view="detail", scope_id="1", params='{"future":1}'))
    never(f"what only another release can build was {outcome} here", happened=outcome is not Outcome.GONE)
