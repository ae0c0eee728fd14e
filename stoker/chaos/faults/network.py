"""Faults of the network between processes and servers. The driver reaches the servers directly.

Each process has a link of its own to each server. A fault breaks those of all processes to one server, or
those of one process. The nodes of a cluster and what Sentinels watch are reached without links, which could
not follow MOVED, and are not where a Sentinel says that a server is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random

from sqlalchemy import make_url

from stoker.chaos.faults.kind import ONE_CACHE, ONE_QUEUE, Kind, Strike
from stoker.chaos.link import Link, through, url_of_postgres
from stoker.chaos.options import TOPOLOGIES
from stoker.chaos.scene import Scene
from stoker.chaos.slots import Slot
from stoker.embedded import Urls
from stoker.settings.topology import is_cluster, is_sentinel

OF = {"queue": ONE_QUEUE, "cache": ONE_CACHE, "postgres": TOPOLOGIES}
"""The servers, and the topologies in which they are reached by links."""
SERVERS = tuple(OF)
TORN = 0.05
"""Share of packets of which only half arrives."""
SLOWEST_S = 0.15
"""The longest delay of a packet, in either direction."""

Links = Mapping[str, Link]
"""Those of one process, by server."""
Break = Callable[[Link, Random], None]


@asynccontextmanager
async def linked(urls: Urls, processes: Iterable[str]) -> AsyncIterator[Mapping[str, Links]]:
    """A link to each server for each of these processes, by their names."""
    redis = {"queue": urls.queue, "cache": urls.cache}
    to = {role: url for role, url in redis.items() if not is_cluster(url) and not is_sentinel(url)}
    to["postgres"] = url_of_postgres(make_url(urls.database))
    async with AsyncExitStack() as closing:
        found = {}
        for process in processes:
            found[process] = {server: await Link(url).start() for server, url in to.items()}
            for link in found[process].values():
                closing.push_async_callback(link.close)
        yield found


def urls_by(links: Links, urls: Urls) -> Urls:
    """The servers as a process reaches them by its links."""
    database = through(links["postgres"], make_url(urls.database))
    queue, cache = (
        links[role].url if role in links else url
        for role, url in (("queue", urls.queue), ("cache", urls.cache))
    )
    return Urls(database.render_as_string(hide_password=False), queue, cache)


def kinds() -> tuple[Kind, ...]:
    """Each of these faults, of each server, and those of one process."""
    of_servers = (
        Kind(
            *(f"{server}_{name}", server, 0.5, longest_s, _strike(server, breaks)),
            topologies=OF[server],
        )
        for server in SERVERS
        for name, longest_s, breaks in (
            ("silence", 4, _silence),
            ("half_open", 4, _half_open),
            ("torn", 3, _tear),
            ("slow", 4, _slow),
        )
    )
    return (
        *of_servers,
        Kind("partition_worker", "worker", 2, 9, partition),
        Kind("partition_webapp", "webapp", 1, 4, partition),
    )


def _strike(server: str, breaks: Break) -> Strike:
    async def strike(scene: Scene, _slot: Slot | None, lasts_s: float) -> None:
        await _broken([links[server] for links in scene.links.values()], breaks, scene.rng, lasts_s)

    return strike


async def partition(scene: Scene, slot: Slot | None, lasts_s: float) -> None:
    """One process alone reaches no server, or one server not; the others go on."""
    assert slot is not None  # noqa: S101 - its target is a slot
    linked = tuple(server for server in SERVERS if server in scene.links[slot.name])
    servers = scene.rng.choice([linked, *((server,) for server in linked)])
    slot.stand_still()
    try:
        await _broken([scene.links[slot.name][server] for server in servers], _silence, scene.rng, lasts_s)
    finally:
        slot.move_on()


async def _broken(links: Sequence[Link], breaks: Break, rng: Random, lasts_s: float) -> None:
    for link in links:
        breaks(link, rng)
    try:
        await asyncio.sleep(lasts_s)
    finally:
        for link in links:
            link.mend()
            link.drop_silent()


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
