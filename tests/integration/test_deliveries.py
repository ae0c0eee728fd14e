"""Deliveries of requests: answers of COMMIT that are lost, and very many requests at once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url, text

from stoker import Job, JobContext, Lane, Stoker
from stoker.chaos.link import through
from stoker.errors import DatabaseUnavailable
from stoker.handlers.deliver import deliver_all, deliver_lost_too
from tests.library import domain as library
from tests.support.place import Place
from tests.support.traps import TrappedLink, link_to_postgres

MANY, BYTES_EACH, MOST_BYTES = 100_000, 1000, 50_000_000


class Note(Job):
    kind = "note.write"
    lane = "notes"
    text: str


async def write(context: JobContext, job: Note) -> None:
    """Nothing runs here."""


domain = replace(library, lanes=(Lane("notes"), Lane("letters")), handlers={Note: write})


@pytest.fixture
async def link(place: Place) -> AsyncIterator[TrappedLink]:
    link = await link_to_postgres(make_url(place.database_url))
    yield link
    await link.close()


@pytest.fixture
async def opened(place: Place) -> AsyncIterator[Stoker]:
    async with Stoker.opened(place.settings(), domain) as stoker:
        yield stoker


@pytest.fixture
async def cut_off(place: Place, link: TrappedLink) -> AsyncIterator[Stoker]:
    """A process whose link to Postgres a test can cut."""
    url = through(link, make_url(place.database_url)).render_as_string(hide_password=False)
    async with Stoker.opened(replace(place, database_url=url).settings(), domain) as stoker:
        yield stoker


async def waiting(opened: Stoker, lane: str = "notes") -> list[str]:
    redis: Any = opened.queue.redis
    return [one.decode() for one in await redis.zrange(f"{opened.queue.settings.prefix}:{lane}", 0, -1)]


async def requested(opened: Stoker) -> str:
    async with opened.session() as session, session.begin():
        return opened.enqueue_in(session, Note(text="once"))


async def test_a_request_whose_commit_was_not_answered_is_delivered_once(
    opened: Stoker, cut_off: Stoker, link: TrappedLink
) -> None:
    lost = link.lose_reply("COMMIT")
    with pytest.raises(DatabaseUnavailable):
        await requested(cut_off)
    assert lost.reached.is_set()
    assert await deliver_all(opened) == 1
    assert len(await waiting(opened)) == 1


async def test_a_request_whose_commit_did_not_arrive_never_existed(
    opened: Stoker, cut_off: Stoker, link: TrappedLink
) -> None:
    lost = link.lose_request("COMMIT")
    with pytest.raises(DatabaseUnavailable):
        await requested(cut_off)
    assert lost.reached.is_set()
    assert await deliver_all(opened) == 0
    assert await waiting(opened) == []


@pytest.mark.parametrize("arrives", [True, False])
async def test_a_delivery_whose_commit_was_not_answered_enqueues_nothing_twice(
    opened: Stoker, cut_off: Stoker, link: TrappedLink, *, arrives: bool
) -> None:
    job_id = await requested(opened)
    _lose(link, arrives=arrives)
    with pytest.raises(DatabaseUnavailable):
        await deliver_all(cut_off)
    assert await waiting(opened) == [job_id]
    await opened.queue.cancel(job_id)  # as if it had run
    assert await deliver_all(opened) == (0 if arrives else 1)
    assert await waiting(opened) == []


@pytest.mark.parametrize("arrives", [True, False])
async def test_a_reset_whose_commit_was_not_answered_loses_nothing_and_doubles_nothing(
    opened: Stoker, cut_off: Stoker, link: TrappedLink, *, arrives: bool
) -> None:
    job_id = await requested(opened)
    await deliver_lost_too(opened)
    redis: Any = opened.queue.redis
    await redis.flushall()
    _lose(link, arrives=arrives)
    with pytest.raises(DatabaseUnavailable):
        await deliver_lost_too(cut_off)
    assert await deliver_lost_too(opened) == 1
    assert await waiting(opened) == [job_id]
    assert await deliver_lost_too(cut_off) == 0


@pytest.mark.long
async def test_very_many_requests_are_delivered_in_order_and_in_little_memory(opened: Stoker) -> None:
    async with opened.engine.begin() as connection:
        await connection.execute(_REQUESTS, {"count": MANY, "bytes": BYTES_EACH})
    before = _memory("VmRSS")
    _forget_the_peak()
    assert await deliver_all(opened) == MANY
    assert _memory("VmHWM") - before < MOST_BYTES < MANY * BYTES_EACH
    for lane, first in (("notes", 2), ("letters", 1)):
        assert await waiting(opened, lane) == [f"r-{number:032x}" for number in range(first, MANY + 1, 2)]


def _memory(name: str) -> int:
    """A figure of this process, in bytes."""
    [line] = [one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith(name)]
    return int(line.split()[1]) * 1024


def _forget_the_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")  # as proc(5) says


def _lose(link: TrappedLink, *, arrives: bool) -> None:
    (link.lose_reply if arrives else link.lose_request)("COMMIT")


_REQUESTS = text("""
INSERT INTO stoker.job_requests (job_id, lane, kind, arguments, flag, alone, fair)
SELECT 'r-' || lpad(to_hex(number), 32, '0'), CASE number % 2 WHEN 0 THEN 'notes' ELSE 'letters' END,
       'note.write', jsonb_build_object('text', repeat('x', :bytes)), '', false, ''
  FROM generate_series(1, CAST(:count AS int)) AS number
""")
