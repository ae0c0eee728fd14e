"""Wakes lanes when work arrives: one blocking BLPOP per process on the bells of lanes with free slots.

Never claims anything. A lost token costs only latency: upkeep checks every lane every two seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

from redis.asyncio import Redis

from stoker.errors import QueueUnavailable
from stoker.queue import wire
from stoker.redis.queue import QueueConnection, answering
from stoker.settings import QueueSettings

WAIT_S = 5
"""Seconds that one BLPOP waits; an idle worker sends one in this time."""
ANSWER_S = 0.1
"""Seconds for a woken lane to claim before bells are listened to again, so that a burst is one wake-up."""
OWN_BELL_LIFE_S = 60
CANCEL = b"cancel:"
"""Begins a token in a process's own bell that names a job to be cancelled; written by cancel.lua."""


class Sleeper(Protocol):
    """What a bell can wake."""

    def has_slots(self) -> bool:
        """Whether it could take a job now."""

    def wake(self) -> asyncio.Future[None]:
        """Ask for work; the future is done when it has been asked for."""

    def cancel(self, job_id: str) -> None:
        """End a job, if it is one of the lane's."""


class Doorbell:
    """The bells of one process."""

    def __init__(self, url: str, redis: Redis, settings: QueueSettings, owner: str) -> None:
        self._redis: Any = redis  # the driver types its replies as awaitable or not
        # Of its own, because it blocks. With a client of redis-py, a job would begin later.
        self._connection = QueueConnection(url, settings, blocks_s=WAIT_S)
        self._settings, self._timeout_s = settings, settings.timeout_s
        self._own = f"{settings.prefix}:bell:{owner}".encode()
        self._lanes: Mapping[bytes, Sleeper] = {}
        self._heard: Sequence[bytes] = ()
        self._nudge: asyncio.Task[None] | None = None

    def listen_to(self, lanes: Mapping[str, Sleeper]) -> None:
        """Say which lanes to wake; before `run`."""
        names = {lane: wire.queue_name(self._settings, lane) for lane in lanes}
        self._lanes = {f"{names[lane]}:bell".encode(): sleeper for lane, sleeper in lanes.items()}

    async def run(self) -> None:
        """Listen until cancelled; raises QueueUnavailable when Redis is away."""
        while True:
            self._heard = [bell for bell, sleeper in self._lanes.items() if sleeper.has_slots()]
            rung = await self._connection.command("BLPOP", self._own, *self._heard, WAIT_S)
            if rung is not None:
                await self._answer(*rung)

    async def close(self) -> None:
        """Hang up: a call that is left behind would take a token that belongs to another worker."""
        await self._connection.close()

    async def _answer(self, bell: bytes, token: bytes) -> None:
        if bell in self._lanes:
            await asyncio.wait({self._lanes[bell].wake()}, timeout=ANSWER_S)
        elif token.startswith(CANCEL):
            for sleeper in self._lanes.values():
                sleeper.cancel(token.removeprefix(CANCEL).decode(errors="surrogateescape"))

    def slots_freed(self, sleeper: Sleeper) -> None:
        """A lane that was full has slots again: listen to its bell too.

        The blocked call is ended by a bell of the process's own; cancelling it could lose a token.
        """
        unheard = all(self._lanes[bell] is not sleeper for bell in self._heard)
        if unheard and (self._nudge is None or self._nudge.done()):
            self._nudge = asyncio.create_task(self._ring_own())

    async def _ring_own(self) -> None:
        # When Redis is away, the blocked call fails by itself.
        with suppress(QueueUnavailable):
            async with answering(self._timeout_s), self._redis.pipeline() as pipe:
                pipe.lpush(self._own, "1")
                pipe.expire(self._own, OWN_BELL_LIFE_S)
                await pipe.execute()
