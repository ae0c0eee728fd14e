"""Sentinels and servers over TLS, with a password for each part: reads, changes, jobs, and a failover."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import RedisError
from sqlalchemy import text

from stoker import CacheUnavailable, Stoker, Unavailable
from stoker.embedded.listening import Listening, free_ports
from stoker.embedded.sentinels import Sentinel, Watched
from stoker.handlers.relay import apply_all
from stoker.jobs import Relay
from stoker.redis.cluster import cache_client
from stoker.redis.sentinel import blocking_client
from tests.support.engine_stage import eventually
from tests.support.notes import NoteChanged, Notes, write_notes
from tests.support.place import Place
from tests.support.tls_front import OPENSSL, BothWays, certificate

pytestmark = pytest.mark.skipif(OPENSSL is None, reason="nothing makes certificates here")

NAME, OF_SERVERS, OF_SENTINEL = "main", "of-servers", "of-sentinel"
OPTIONS = ("--save", "", "--appendonly", "yes", "--replica-announce-ip", "127.0.0.1")


@dataclass(frozen=True)
class Secured:
    """A pair and one Sentinel, each behind a front of its own."""

    watched: Watched
    fronts: list[BothWays]
    """Of both servers and of the Sentinel."""
    authority: Path

    def url(self, **changed: str) -> str:
        """As an installation names them; `changed`: one of its parts."""
        given = {"password": OF_SERVERS, "sentinel_password": OF_SENTINEL, "authority": str(self.authority)}
        password, of_sentinel, authority = (given | changed).values()
        return (
            f"rediss+sentinel://:{password}@127.0.0.1:{self.fronts[2].port}/{NAME}/0"
            f"?sentinel_password={of_sentinel}&ssl_ca_certs={authority}&ssl_check_hostname=true"
        )


@pytest.fixture
async def secured(tmp_path: Path) -> AsyncIterator[Secured]:
    """Running, the replica in step."""
    of = certificate(tmp_path, "ours")
    ports = free_ports(3)
    async with AsyncExitStack() as last:
        folder = Path(last.enter_context(tempfile.TemporaryDirectory(prefix="st", dir="/tmp")))
        fronts = [await BothWays(port, of).start() for port in ports]
        for front in fronts:
            last.push_async_callback(front.close)
        first, second, _ = (front.port for front in fronts)
        servers = [
            Listening(name, folder, port, [*OPTIONS, "--replica-announce-port", str(announced)], **more)
            for name, port, announced, more in (
                ("a", ports[0], first, {"password": OF_SERVERS}),
                ("b", ports[1], second, {"password": OF_SERVERS, "follows": first}),
            )
        ]
        lines = [f"sentinel monitor {NAME} 127.0.0.1 {first} 1", f"sentinel auth-pass {NAME} {OF_SERVERS}"]
        sentinel = Sentinel("s", folder, ports[2], OF_SENTINEL, lines)
        for one in (*servers, sentinel):
            last.callback(one.kill)
            await asyncio.to_thread(one.start)
        found = Secured(Watched(NAME, servers, [sentinel], OF_SENTINEL), fronts, of[0])

        async def in_step() -> bool:
            said = await asyncio.to_thread(servers[1].ask, "INFO replication")
            return "master_link_status:up" in said and sentinel.knows(NAME) == (0, 1)

        await eventually(in_step)
        yield found


async def test_both_roles_follow_a_failover_over_tls(secured: Secured, place: Place) -> None:
    url = secured.url()
    there = replace(place, queue_url=url, cache_url=url)
    settings = there.settings(cache={"breaker_retry_s": 0.05, "watch_s": 0.2, "timeout_s": 2})
    thread: Any = blocking_client(url, 2)
    tls = [front.tls for front in secured.fronts]
    sentinel = secured.watched.sentinels[0]
    if "valkey_version:" not in secured.watched.servers[0].ask("INFO server"):
        pytest.skip("a failover after which nobody is left at the old primary needs Valkey 9")
    try:
        async with Stoker.opened(settings, Notes().domain) as stoker:
            async with stoker.session() as session, session.begin():
                await write_notes(session, 1)
            assert (await stoker.read("detail", 1, reader=7)).value["body"] == "v1"
            await stoker.queue.enqueue(Relay())
            await asyncio.to_thread(thread.ping)
            assert (tls[0].connected > 0, tls[1].connected, tls[2].connected > 0) == (True, 0, True)

            asked = ("SENTINEL", "FAILOVER", NAME, "COORDINATED")
            await eventually(lambda: asyncio.to_thread(sentinel.do, *asked))
            await eventually(lambda: asyncio.to_thread(secured.watched.servers[1].leads))
            async with stoker.session() as session, session.begin():
                await session.execute(text("UPDATE notes SET body = 'v2'"))
                stoker.record(session, NoteChanged(note_id=1))

            async def applied() -> bool:
                with suppress(Unavailable):
                    return await apply_all(stoker) == 1
                return False

            async def enqueued() -> bool:
                with suppress(Unavailable, RedisError, OSError):
                    await stoker.queue.enqueue(Relay())
                    return bool(await asyncio.to_thread(thread.set, f"{there.prefix}:x", "1", px=1000))
                return False

            await eventually(applied)
            assert tls[1].connected > 0
            assert (await stoker.read("detail", 1, reader=7)).value["body"] == "v2"
            await eventually(enqueued)
    finally:
        thread.close()


WRONG = {
    "password": "invalid username-password pair",
    "sentinel_password": "none of its Sentinels answers: .*invalid username-password pair",
    "authority": "none of its Sentinels answers: .*certificate verify failed",
}
"""What is said of each part that is wrong."""


async def test_who_has_not_the_right_secret_is_told_which_part_refused(
    secured: Secured, tmp_path: Path
) -> None:
    other = str(certificate(tmp_path, "others")[0])
    for part, said in WRONG.items():
        url = secured.url(**{part: other if part == "authority" else "wrong"})
        client = cache_client(url, timeout_s=5, connections=1, nonce_key="run")
        with pytest.raises(CacheUnavailable, match=said):
            await client.call(("PING",))
        await client.close()
