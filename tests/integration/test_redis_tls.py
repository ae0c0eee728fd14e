"""`rediss://`: both Redis roles over TLS, and a server that is not the one it says it is.

The wires speak TLS themselves: the server that tests run is built without it.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from stoker import CacheUnavailable, State, Stoker
from stoker.chaos.link import Link
from stoker.errors import QueueUnavailable
from stoker.handlers.relay import apply_all
from stoker.jobs import Relay
from stoker.queue.enqueue import Queue
from stoker.redis.cache import CacheClient
from tests.support.engine_stage import settings_of
from tests.support.notes import NoteChanged, Notes, write_notes
from tests.support.place import Place
from tests.support.tls_front import OPENSSL, certificate

pytestmark = pytest.mark.skipif(OPENSSL is None, reason="nothing makes certificates here")


@dataclass(frozen=True)
class Wires:
    """To queue and cache, and the certificate that a client must know."""

    queue: Link
    cache: Link
    authority: Path

    def options(self, **more: str) -> str:
        """What follows a URL."""
        return "&".join(f"{name}={value}" for name, value in {"ssl_ca_certs": self.authority, **more}.items())


@pytest.fixture
async def wires(queue_url: str, cache_url: str, tmp_path: Path) -> AsyncIterator[Wires]:
    """To the servers of the test, with a certificate of their own for 127.0.0.1."""
    given, key = certificate(tmp_path, "ours")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(given, key)
    made = Wires(await Link(queue_url, context).start(), await Link(cache_url, context).start(), given)
    yield made
    await made.queue.close()
    await made.cache.close()


async def test_what_is_read_written_and_asked_for_goes_over_tls(wires: Wires, place: Place) -> None:
    options = wires.options(ssl_check_hostname="true")
    led = replace(place, queue_url=f"{wires.queue.url}?{options}", cache_url=f"{wires.cache.url}?{options}")
    async with Stoker.opened(led.settings(), Notes().domain) as stoker:
        async with stoker.session() as session, session.begin():
            await write_notes(session, 1)
        states = [(await stoker.read("detail", 1, reader=7)).state for _ in range(2)]
        assert states == [State.MISS, State.HIT]
        async with stoker.session() as session:
            stoker.record(session, NoteChanged(note_id=1))
            await session.commit()
        assert await apply_all(stoker) == 1
        assert (await stoker.read("detail", 1, reader=7)).state is State.MISS
        asked = await stoker.queue.enqueue(Relay())
        assert await stoker.queue.is_open(asked.job_id)
    assert (wires.cache.connected > 0, wires.queue.connected > 0) == (True, True)


@pytest.mark.parametrize("wrong", ["another authority", "another host"])
async def test_a_server_that_is_not_the_one_it_says_it_is_is_not_spoken_to(
    wires: Wires, tmp_path: Path, wrong: str
) -> None:
    if wrong == "another authority":
        wires = replace(wires, authority=certificate(tmp_path, "other")[0])
    options = wires.options(ssl_check_hostname="true")
    at = "127.0.0.1" if wrong == "another authority" else "localhost"
    cache, queue = (f"{one.url}?{options}".replace("127.0.0.1", at) for one in (wires.cache, wires.queue))
    client = CacheClient(cache, timeout_s=5, connections=1)
    with pytest.raises(CacheUnavailable, match="certificate verify failed"):
        await client.call(("PING",))
    await client.close()
    asking = Queue.from_url(queue, settings_of("t"))
    with pytest.raises(QueueUnavailable, match="certificate verify failed"):
        await asking.ring()
    with pytest.raises(QueueUnavailable, match="certificate verify failed"):
        await asking.pause(Relay.lane)
    await asking.close()
