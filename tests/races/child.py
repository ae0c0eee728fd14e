"""A process that a test kills or stops: it does one thing and waits, for ever, at the point that it names.

Run as `python -m tests.races.child <what> <database> <queue> <cache> <prefix> [<guard that is missing>]`.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any, NoReturn

import pytest
from sqlalchemy import text

from stoker import Stoker, load_settings
from stoker.handlers import relay
from stoker.handlers.relay import apply_all
from stoker.settings import LONGEST_TERM_MS, CacheSettings, QueueSettings, Settings
from tests.races.guards import GUARDS
from tests.support.notes import NoteChanged, Notes
from tests.support.suspended import NotPermitted, suspended_since


def stop_at(point: str) -> NoReturn:
    """Print the point that was reached and wait for ever: the reader of the line kills this process."""
    sys.stdout.write(point + "\n")
    sys.stdout.flush()
    sys.stdin.read()
    raise SystemExit("nobody killed me")


async def main(what: str, database: str, queue: str, cache: str, prefix: str, missing: str = "") -> None:
    """Open a Stoker on the test's servers and do what is asked."""
    if missing:
        GUARDS[missing](pytest.MonkeyPatch())
    settings: Settings = load_settings(
        database_url=database,
        redis_url=queue,
        cache_redis_url=cache,
        cache=CacheSettings(prefix=prefix, term_ms=LONGEST_TERM_MS),
        queue=QueueSettings(prefix=prefix),
    )
    async with Stoker.opened(settings, Notes().domain) as stoker:
        await DEEDS[what](stoker)


async def record_and_commit(stoker: Stoker) -> None:
    """Record, commit, and die before ringing."""
    stoker._parts.ringer.soon = lambda rows: stop_at("committed")  # type: ignore[method-assign]  # noqa: ARG005
    async with stoker.session() as session:
        await session.execute(text("UPDATE notes SET body = 'v2' WHERE id = 1"))
        stoker.record(session, NoteChanged(note_id=1, readers=(1,)))
        await session.commit()


async def relay_up_to_unlink(stoker: Stoker) -> None:
    """Claim events and die before unlinking."""
    await _relay(stoker, relay, "unlink", "claimed", first=False)


async def relay_up_to_settle(stoker: Stoker) -> None:
    """Claim events, unlink, and die before settling."""
    await _relay(stoker, relay, "unlink", "unlinked", first=True)


async def read_within_a_term(stoker: Stoker) -> None:
    """Read until the entry is served without asking; then read again, once for each line that comes."""
    for _ in range(3):
        await stoker.read("detail", 1, reader=1)
    print("read", flush=True)  # noqa: T201 - to the test
    # The loop waits, too: a process that is stopped does nothing.
    while sys.stdin.readline():
        print((await stoker.read("detail", 1, reader=1)).value["body"], flush=True)  # noqa: T201 - the same


async def read_after_a_suspend(stoker: Stoker) -> None:
    """Read as above; the time until the line comes has passed in a suspend."""
    for _ in range(3):
        await stoker.read("detail", 1, reader=1)
    began_s, began_boot_s = time.monotonic(), time.clock_gettime(time.CLOCK_BOOTTIME)
    print("read", flush=True)  # noqa: T201 - to the test
    sys.stdin.readline()
    try:
        suspended_since(began_s)
    except NotPermitted as error:
        print(error, flush=True)  # noqa: T201 - the same
        return
    shown = (await stoker.read("detail", 1, reader=1)).value["body"]
    awake_s, passed_s = time.monotonic() - began_s, time.clock_gettime(time.CLOCK_BOOTTIME) - began_boot_s
    assert awake_s < passed_s - 1, "its clocks are not those of a suspend"
    print(shown, flush=True)  # noqa: T201 - the same


async def _relay(stoker: Stoker, module: Any, name: str, point: str, *, first: bool) -> None:  # noqa: ANN401
    deed = getattr(module, name)

    async def stopping(*arguments: Any) -> None:  # noqa: ANN401 - as they come
        if first:
            await deed(*arguments)
        stop_at(point)

    setattr(module, name, stopping)
    await apply_all(stoker)


DEEDS = {
    one.__name__: one
    for one in (
        record_and_commit,
        relay_up_to_unlink,
        relay_up_to_settle,
        read_within_a_term,
        read_after_a_suspend,
    )
}

if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
