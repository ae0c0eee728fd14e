"""Faults of the network between the processes and a server. The driver reaches the servers directly."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random

from sqlalchemy import make_url

from stoker.chaos.faults.kind import Kind, Strike
from stoker.chaos.link import Link, through, url_of_postgres
from stoker.chaos.scene import Scene
from stoker.chaos.slots import Slot
from stoker.embedded import Urls

SERVERS = ("queue", "cache", "postgres")
TORN = 0.05
"""Share of packets of which only half arrives."""
SLOWEST_S = 0.15
"""The longest delay of a packet, in either direction."""

Break = Callable[[Link, Random], None]


@asynccontextmanager
async def linked(urls: Urls) -> AsyncIterator[tuple[Urls, Mapping[str, Link]]]:
    """The URLs of the servers through links, and the link of each server."""
    database = make_url(urls.database)
    async with AsyncExitStack() as closing:
        links = {"queue": await Link(urls.queue).start(), "cache": await Link(urls.cache).start()}
        links["postgres"] = await Link(url_of_postgres(database)).start()
        for link in links.values():
            closing.push_async_callback(link.close)
        by_link = through(links["postgres"], database).render_as_string(hide_password=False)
        yield Urls(by_link, links["queue"].url, links["cache"].url), links


def kinds() -> tuple[Kind, ...]:
    """Each of these faults, of each server."""
    return tuple(
        Kind(f"{server}_{name}", server, 0.5, longest_s, _strike(server, breaks))
        for server in SERVERS
        for name, longest_s, breaks in (
            ("silence", 4, _silence),
            ("half_open", 4, _half_open),
            ("torn", 3, _tear),
            ("slow", 4, _slow),
        )
    )


def _strike(server: str, breaks: Break) -> Strike:
    async def strike(scene: Scene, _slot: Slot | None, lasts_s: float) -> None:
        link = scene.links[server]
        breaks(link, scene.rng)
        try:
            await asyncio.sleep(lasts_s)
        finally:
            link.mend()
            link.drop_silent()

    return strike


def _silence(link: Link, _rng: Random) -> None:
    """Nothing passes; afterwards everything that was sent arrives at once."""
    link.freeze()


def _half_open(link: Link, _rng: Random) -> None:
    """Nothing passes on existing connections, which end after a while; new ones are answered."""
    link.silence()


def _tear(link: Link, rng: Random) -> None:
    """Connections end in the middle of a message, in either direction."""
    link.tear(rng, TORN)


def _slow(link: Link, rng: Random) -> None:
    """Every packet takes longer."""
    link.delay_s = rng.uniform(0.01, SLOWEST_S)
