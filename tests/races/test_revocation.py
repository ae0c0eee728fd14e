"""`commit_revocation`: once it returns, no reader is served by a right that was removed (rows 39, 45)."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

import stoker.revocation
from stoker import CommittedNotApplied, DeclarationError, Forbidden, Receipt
from tests.races.race import race
from tests.races.world import Process, World, never, patience
from tests.support.notes import MemberRemoved, NoteChanged, Poison


async def remove(process: Process, session: AsyncSession) -> Receipt:
    """Take the right of reader 1 away; nothing is committed yet."""
    await session.execute(text("DELETE FROM note_members WHERE reader_id = 1"))
    return process.stoker.record(session, MemberRemoved(note_id=1, reader_id=1))


async def is_refused(process: Process) -> None:
    try:
        shown = (await process.read()).value
    except Forbidden:
        return
    never(f"a removed member was shown {shown}", happened=True)


@race("revocations put into effect by the request")
async def test_a_removal_without_a_worker_is_in_effect_when_it_returns(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 39. No worker runs: the stamps are unlinked here."""
    monkeypatch.setattr(stoker.revocation, "PATIENCE", timedelta(0))
    process = await world.warmed(await world.process())
    async with world.first.stoker.session() as session:
        await remove(world.first, session)
        await world.first.stoker.commit_revocation(session)
    await is_refused(process)


@race("audiences of revocations")
async def test_a_removal_reaches_what_only_its_rule_knows_of(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows 32, 39. What the rule says of the audience is unlinked, too."""
    monkeypatch.setattr(stoker.revocation, "PATIENCE", timedelta(0))
    process = await world.warmed()
    await process.read(view="mine")
    async with process.stoker.session() as session:
        await session.execute(text("UPDATE notes SET body = 'v2'"))
        process.stoker.record(session, NoteChanged(note_id=1))  # its audience is reader 1
        await process.stoker.commit_revocation(session)
    shown = (await process.read(view="mine")).value
    never(f"the list of notes still shows {shown}", happened=shown != ["v2"])


@race("revocations refused where the worker applies to another cache")
async def test_a_removal_in_another_cache_than_the_workers_is_not_called_done(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows 39, 45. A web app with another prefix would unlink where nobody reads."""
    monkeypatch.setattr(stoker.revocation, "PATIENCE", timedelta(0))
    process = await world.warmed()
    lost = await world.process(cache={"prefix": f"{world.prefix}-other"})
    async with lost.stoker.session() as session:
        await remove(lost, session)
        with suppress(CommittedNotApplied):
            await lost.stoker.commit_revocation(session)
            await is_refused(process)


async def test_a_rule_that_fails_after_the_commit_does_not_hide_that_it_is_committed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 39. Its audience is asked here, because no worker runs."""
    monkeypatch.setattr(stoker.revocation, "PATIENCE", timedelta(0))
    process = await world.warmed()
    process.notes.rule_error = ValueError()
    async with process.stoker.session() as session:
        receipt = process.stoker.record(session, Poison(note_id=1))
        with pytest.raises(CommittedNotApplied) as raised:
            await process.stoker.commit_revocation(session)
    assert (raised.value.event_id, type(raised.value.__cause__)) == (receipt.event_id, ValueError)


async def test_a_removal_that_the_worker_applies_is_waited_for(world: World) -> None:
    process = await world.warmed(await world.process())
    unlinks = process.cache_link.count(b"UNLINK")
    async with process.stoker.session() as session:
        receipt = await remove(process, session)
        commit = asyncio.create_task(process.stoker.commit_revocation(session))
        async with patience("the removal did not return"):
            while not commit.done():
                await world.first.apply()
        await commit
    assert (receipt.event_id > 0, unlinks.count) == (True, 0)
    await is_refused(process)


async def test_a_revocation_without_an_event_is_refused_before_it_commits(world: World) -> None:
    async with world.first.stoker.session() as session:
        await session.execute(text("DELETE FROM note_members"))
        with pytest.raises(DeclarationError, match="the session has recorded no event"):
            await world.first.stoker.commit_revocation(session)
    assert await world.sql("SELECT count(*) FROM note_members") == 1


async def test_a_revocation_whose_commit_is_not_the_last_one_is_refused(world: World) -> None:
    process = world.first
    async with process.stoker.engine.begin() as connection, AsyncSession(connection) as session:
        await remove(process, session)
        with pytest.raises(DeclarationError, match="give the session a transaction of its own"):
            await process.stoker.commit_revocation(session)


async def test_a_block_that_begins_a_transaction_may_end_with_a_revocation(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stoker.revocation, "PATIENCE", timedelta(0))
    process = await world.warmed()
    async with process.stoker.session() as session, session.begin():
        await remove(process, session)
        await process.stoker.commit_revocation(session)
    await is_refused(process)
