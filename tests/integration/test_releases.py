"""Two releases on one cache: each keeps its own entries, and one invalidation removes both."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from stoker import Domain, EntryKey, State, Stoker
from stoker.handlers.relay import apply_all
from tests.support.notes import NoteChanged, Notes, write_notes
from tests.support.place import Place


def next_release(domain: Domain) -> Domain:
    """The same domain, its `detail` of another shape."""
    detail = domain.view("detail")

    async def load(session: AsyncSession, keys: Sequence[EntryKey]) -> Mapping[EntryKey, Any]:
        return {key: {"text": value["body"]} for key, value in (await detail.load(session, keys)).items()}

    changed = replace(detail, load=load, version=2)
    return replace(domain, views=(changed, *(view for view in domain.views if view is not detail)))


@pytest.fixture
async def releases(place: Place) -> AsyncIterator[tuple[Stoker, Stoker]]:
    settings = place.settings(cache={"timeout_s": 10})
    domain = Notes().domain
    async with AsyncExitStack() as stack:
        old = await stack.enter_async_context(Stoker.opened(settings, domain))
        new = await stack.enter_async_context(Stoker.opened(settings, next_release(domain)))
        async with old.session() as session, session.begin():
            await write_notes(session, 1)
        yield old, new


async def change(writer: Stoker, body: str) -> None:
    async with writer.session() as session, session.begin():
        await session.execute(text("UPDATE notes SET body = :body"), {"body": body})
        writer.record(session, NoteChanged(note_id=1))


async def test_a_view_of_another_shape_keeps_entries_of_its_own(releases: tuple[Stoker, Stoker]) -> None:
    old, new = releases
    assert (await old.read("detail", 1, reader=7)).value == {"body": "v1"}
    assert (await new.read("detail", 1, reader=7)).value == {"text": "v1"}
    for release, shape in ((old, {"body": "v1"}), (new, {"text": "v1"})):
        reading = await release.read("detail", 1, reader=7)
        assert (reading.state, reading.value) == (State.HIT, shape)


@pytest.mark.parametrize(("writer", "applier"), [(0, 1), (1, 0), (0, 0), (1, 1)])
async def test_a_change_reaches_the_entries_of_both(
    releases: tuple[Stoker, Stoker], writer: int, applier: int
) -> None:
    old, new = releases
    for release in releases:
        await release.read("detail", 1, reader=7)
    await change(releases[writer], "v2")
    await apply_all(releases[applier])
    assert (await old.read("detail", 1, reader=7)).value == {"body": "v2"}
    assert (await new.read("detail", 1, reader=7)).value == {"text": "v2"}


async def test_another_envelope_format_lives_beside_the_older_one(
    releases: tuple[Stoker, Stoker], monkeypatch: pytest.MonkeyPatch
) -> None:
    old, _ = releases
    await old.read("detail", 1, reader=7)
    assert (await old.read("detail", 1, reader=7)).state is State.HIT
    with monkeypatch.context() as newer:
        newer.setattr("stoker.cache.keys.FORMAT", 2)
        newer.setattr("stoker.cache.envelope.FORMAT", 2)
        async with Stoker.opened(old.settings, old.domain) as new:
            assert (await new.read("detail", 1, reader=7)).state is State.MISS
            assert (await new.read("detail", 1, reader=7)).state is State.HIT
    # The newer release has overwritten nothing of the older one.
    assert (await old.read("detail", 1, reader=7)).state is State.HIT
    await change(old, "v2")
    await apply_all(old)
    assert (await old.read("detail", 1, reader=7)).value == {"body": "v2"}
