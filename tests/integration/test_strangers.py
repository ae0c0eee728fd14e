"""Readers who guess ids are slowed down, and members' misses do not wait for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from sqlalchemy import text

from stoker import Forbidden, NotFound, State, Stoker
from stoker.cache.strangers import FEW, Strangers
from tests.support.notes import Notes, write_notes
from tests.support.place import Place

JOIN = text("INSERT INTO note_members VALUES (3, :reader)")
STRANGERS = range(100, 124)
MEMBER = 7


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
async def stoker(place: Place, notes: Notes) -> AsyncIterator[Stoker]:
    async with Stoker.opened(place.settings(loaders={"connections": 8}), notes.domain) as opened:
        async with opened.session() as session, session.begin():
            await write_notes(session, 3)
        yield opened


@pytest.mark.parametrize("first", [None, 1000], ids=["somebody else's", "nobody's"])
async def test_members_misses_do_not_wait_for_strangers(
    stoker: Stoker, notes: Notes, first: int | None
) -> None:
    """Guard: turns of those who were refused lately. 24 of them made a member's miss 14 times slower."""
    await stoker.read("detail", 1, reader=MEMBER)
    await stoker.read("detail", 2, reader=MEMBER)  # its right is kept, as a member's is

    async def guess(reader: int) -> None:
        with suppress(Forbidden, NotFound):
            await stoker.read("detail", 1 if first is None else first + reader, reader=reader)

    for _ in range(FEW + 1):
        await asyncio.gather(*(guess(reader) for reader in STRANGERS))
    held = notes.hold_before("access")
    guessing = [asyncio.create_task(guess(reader)) for reader in STRANGERS]
    await held.reached.wait()
    async with asyncio.timeout(20):
        assert (await stoker.read("summary", 2, reader=MEMBER)).state is State.MISS
    held.release()
    await asyncio.gather(*guessing)


async def test_a_stranger_who_becomes_a_member_is_let_in_at_once(stoker: Stoker) -> None:
    for _ in range(FEW + 3):
        with pytest.raises(Forbidden):
            await stoker.read("detail", 3, reader=STRANGERS[0])
    async with stoker.session() as session, session.begin():
        await session.execute(JOIN, {"reader": STRANGERS[0]})
    assert (await stoker.read("detail", 3, reader=STRANGERS[0])).value == {"body": "v1"}


async def test_those_who_take_turns_are_forgotten_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    strangers = Strangers(1)
    for _ in range(FEW):
        strangers.refused("seldom")
    assert not strangers.knows("seldom")
    strangers.refused("seldom")
    assert strangers.knows("seldom")
    async with strangers.turn("seldom"), strangers.turn("a member"):
        pass
    monkeypatch.setattr("stoker.cache.strangers.FORGOTTEN_S", 0.0)
    assert not strangers.knows("seldom")
    monkeypatch.setattr("stoker.cache.strangers.KEPT", 3)
    for reader in range(10):
        strangers.refused(reader)
    assert len(strangers._refused) == 3
