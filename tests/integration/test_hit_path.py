"""Which files a hit crosses, in the order in which a newcomer reads them, and how many a change crosses."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest
from sqlalchemy import text

import stoker
from stoker import Receipt, State, Stoker
from stoker.handlers.relay import apply_all
from tests.support.notes import NoteChanged, Notes, write_notes
from tests.support.place import Place

LIBRARY = Path(stoker.__file__).parent
FIRST = (
    "stoker.py",
    "cache/read.py",
    "cache/catalog.py",
    "cache/view.py",
    "cache/keys.py",
    "cache/lookup.py",
    "cache/near.py",
    "redis/cache.py",
    "redis/connection.py",
    "cache/envelope.py",
    "cache/reading.py",
    "cache/accounting.py",
)
"""The first hit of an entry in a process."""
LATER = frozenset(FIRST) - {"cache/catalog.py", "cache/view.py", "cache/keys.py"}
"""The next ones: the plan is remembered."""
MOST_OF_A_WRITER, MOST_OF_A_RELAY = 25, 32
"""Files that a change crosses; docs/architecture.md names the figures."""
QUIET = {"watch_s": 3600, "stats_flush_s": 3600}


@contextmanager
def crossed() -> Iterator[set[str]]:
    """The files of the library in which a function runs."""
    found: set[str] = set()

    def called(frame: FrameType, event: str, _: object) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(LIBRARY):
            found.add(str(path.relative_to(LIBRARY)))

    sys.setprofile(called)
    try:
        yield found
    finally:
        sys.setprofile(None)


async def _nothing_runs_beside(*processes: Stoker) -> None:
    for one in processes:
        await asyncio.gather(*one._parts.detached._tasks)


@pytest.mark.parametrize(("view", "scope_id"), [("detail", 1), ("mine", 7)])
async def test_a_hit_crosses_at_most_twelve_files(place: Place, view: str, scope_id: int) -> None:
    settings = place.settings(cache=QUIET)
    domain = Notes().domain
    async with Stoker.opened(settings, domain) as builder, Stoker.opened(settings, domain) as web:
        async with builder.session() as session, session.begin():
            await write_notes(session, 2)
        await builder.read(view, scope_id, reader=7)
        await web.read("summary", 2, reader=7)  # connects
        await _nothing_runs_beside(builder, web)
        for expected in (set(FIRST), set(LATER)):
            with crossed() as files:
                reading = await web.read(view, scope_id, reader=7)
            assert reading.state is State.HIT
            assert files <= expected
    assert len(FIRST) <= 12


async def _change(web: Stoker) -> Receipt:
    async with web.session() as session, session.begin():
        await session.execute(text("UPDATE notes SET body = 'v2' WHERE id = 1"))
        receipt = web.record(session, NoteChanged(note_id=1))
    await web._parts.ringer.close()
    return receipt


async def test_a_change_crosses_no_more_files_than_the_docs_say(place: Place) -> None:
    settings = place.settings(cache=QUIET)
    domain = Notes().domain
    async with Stoker.opened(settings, domain) as web, Stoker.opened(settings, domain) as worker:
        async with web.session() as session, session.begin():
            await write_notes(session, 2)
        await web.read("detail", 1, reader=7)
        await _change(web)  # the servers learn scripts, and connections are opened
        await apply_all(worker)
        await _nothing_runs_beside(web, worker)
        with crossed() as written:
            receipt = await _change(web)
        with crossed() as applied:
            await apply_all(worker)
        assert await receipt.applied() == "applied"
    assert len(written) <= MOST_OF_A_WRITER, "\n".join(sorted(written))
    assert len(applied) <= MOST_OF_A_RELAY, "\n".join(sorted(applied))
    docs = (LIBRARY.parent / "docs" / "architecture.md").read_text()
    assert f"at most {MOST_OF_A_WRITER} files" in docs
    assert f"at most {MOST_OF_A_RELAY} in the worker" in docs
