"""Faults of a primary that Sentinels watch, and of a Sentinel. Afterwards each pair is in step again.

No fault lets clients of a primary go on beside its successor: docs/decisions/0026 says for how long they may
read it then. A killed primary comes back as one, and is a replica some ten seconds later.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from stoker.chaos.faults.kind import NODE_S, Kind
from stoker.chaos.faults.servers import down, frozen
from stoker.chaos.scene import Scene
from stoker.chaos.slots import Slot
from stoker.embedded.sentinels import DOWN_AFTER_MS, Watched

SENTINEL = "sentinel"
NEVER_MS = 600_000
"""A silence after which nobody takes the place of a primary that does not answer."""
DEMOTED_S = 12.0
"""The Sentinels make a primary that comes back a replica within this."""


def kinds() -> tuple[Kind, ...]:
    """Each of these faults, of both roles, and the fault of a Sentinel."""
    of_roles = (
        kind
        for role in ("queue", "cache")
        for kind in (
            Kind(
                f"{role}_primary_kill",
                role,
                0.1,
                3,
                partial(kill, role),
                NODE_S,
                DEMOTED_S,
                topologies=[SENTINEL],
                then=partial(bring_back, role),
            ),
            Kind(f"{role}_failover", role, 0, 0, partial(fail_over, role), NODE_S, topologies=[SENTINEL]),
            Kind(f"{role}_primary_restart", role, 0.1, 2, partial(restart, role), topologies=[SENTINEL]),
            Kind(f"{role}_primary_freeze", role, 0.6, 3, partial(freeze, role), topologies=[SENTINEL]),
        )
    )
    return (*of_roles, Kind("sentinel_kill", SENTINEL, 1, 5, kill_sentinel, topologies=[SENTINEL]))


async def kill(role: str, scene: Scene, _slot: Slot | None, _lasts_s: float) -> None:
    """SIGKILL; it is over when the replica has taken over. What had not reached it is gone (RACES 8)."""
    watched = scene.servers.watched[role]
    killed = watched.primary
    await asyncio.to_thread(killed.kill)
    await asyncio.to_thread(watched.wait_led_by, watched.other(killed))


async def bring_back(role: str, scene: Scene, away_s: float) -> None:
    """Start the killed one again, with its data of then."""
    watched = scene.servers.watched[role]
    await asyncio.sleep(away_s)
    for server in watched.servers:
        await asyncio.to_thread(server.start)
    await asyncio.to_thread(watched.wait_in_step)


async def fail_over(role: str, scene: Scene, _slot: Slot | None, _lasts_s: float) -> None:
    """The replica takes over, as an operator asks it to before maintenance; nothing is lost."""
    watched = scene.servers.watched[role]
    await asyncio.to_thread(watched.fail_over, "COORDINATED")
    await asyncio.to_thread(watched.wait_in_step)


async def restart(role: str, scene: Scene, _slot: Slot | None, lasts_s: float) -> None:
    """SIGKILL; it comes back, with its data if it keeps any, and nobody has taken its place."""
    async with unreplaced(role, scene) as watched:
        await down(watched.primary, lasts_s)


async def freeze(role: str, scene: Scene, _slot: Slot | None, lasts_s: float) -> None:
    """SIGSTOP; nobody takes its place, and then it answers all waiting requests at once."""
    async with unreplaced(role, scene) as watched:
        await frozen(watched.primary, lasts_s)


async def kill_sentinel(scene: Scene, _slot: Slot | None, lasts_s: float) -> None:
    """SIGKILL of one of the three; two can still let a replica take over."""
    one = scene.rng.choice(scene.servers.watched["queue"].sentinels)
    await down(one, lasts_s)


@asynccontextmanager
async def unreplaced(role: str, scene: Scene) -> AsyncIterator[Watched]:
    """Nobody takes the place of the primary for the time of the block; at its end the pair is in step."""
    watched = scene.servers.watched[role]
    async with scene.locks[SENTINEL]:  # all of them must hear both times
        await asyncio.to_thread(watched.down_after, NEVER_MS)
        try:
            yield watched
        finally:
            # Before that they would take the primary for dead at once, for the silence that there was.
            await asyncio.to_thread(watched.wait_heard_from)
            await asyncio.to_thread(watched.down_after, DOWN_AFTER_MS)
            await asyncio.to_thread(watched.wait_in_step)
