"""A process that forks before and after it uses its SyncStoker, as prefork web servers do.

Prints a line of JSON for each step. Children end as a program does, so that what they inherited is finalized.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import create_engine, make_url, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from stoker import Stoker, SyncStoker
from tests.support.notes import NoteChanged, Notes, write_notes

sync = SyncStoker(domain=Notes().domain)


def say(**facts: object) -> None:
    print(json.dumps(facts), flush=True)  # noqa: T201 - what it is for


def read(who: str, times: int) -> None:
    say(who=who, states=[sync.read("detail", 1, reader=7).state for _ in range(times)])


def read_by(who: str, threads: int) -> None:
    with ThreadPoolExecutor(threads) as pool:
        states = pool.map(lambda _: sync.read("detail", 1, reader=7).state, range(50))
        say(who=who, states=list(states), loops=threading.active_count() - threads - 1)


def forked(what: Callable[[], None], fork: Callable[[], int] = os.fork) -> int:
    """Fork, and let the child do something and end."""
    child = fork()
    if child == 0:
        what()
        sys.exit(0)
    return child


def ended(child: int) -> None:
    _, status = os.waitpid(child, 0)
    assert status == 0, f"a child ended with {status}"


async def filled(stoker: Stoker) -> None:
    async with AsyncSession(stoker.engine) as session, session.begin():
        await write_notes(session, 1)


async def relays(stoker: Stoker) -> int:
    waiting = await stoker.queue.redis.zcard(f"{stoker.settings.queue.prefix}:changes")
    return int(waiting)


def main() -> None:
    with SyncStoker(domain=Notes().domain) as another:
        another.call(filled)
    ended(forked(lambda: read("child forked before", 2)))
    read("parent", 2)
    for _ in range(4):  # one after the other, each with what the parent has open
        ended(forked(lambda: read("child forked after", 50)))
    for threads in (1, 8):  # as uWSGI forks: Python is not told, and calls none of its hooks
        ended(forked(lambda: read_by("child forked by C", threads), ctypes.PyDLL(None).fork))  # noqa: B023
    ended(forked(lambda: say(who="child that reads nothing"), ctypes.PyDLL(None).fork))
    read("parent again", 50)
    engine = create_engine(make_url(os.environ["DATABASE_URL"]).set(drivername="postgresql+psycopg"))
    with Session(engine) as session, session.begin():
        session.execute(text("UPDATE notes SET body = 'v2'"))
        sync.record(session, NoteChanged(note_id=1))
    sync.close()  # which waits for the ring
    say(who="rung", relays=sync.call(relays))


if __name__ == "__main__":
    main()
