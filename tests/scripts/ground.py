"""A queue on a server of its own, emptied for each scenario, and two worker processes' claims on it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from stoker.jobs import LANES, Job, Lane
from stoker.queue import wire
from stoker.queue.enqueue import Queue
from stoker.worker.engine.claims import Claim, Claims, Ending, Finish, LaneNews

PREFIX = "s"
HOUR_MS = 3_600_000
Scenario = Callable[["Ground"], Coroutine[Any, Any, None]]
SCENARIOS: dict[str, list[Scenario]] = {}
"""By the name of the script that they are about."""


def about(*scripts: str) -> Callable[[Scenario], Scenario]:
    """Say which scripts a scenario watches."""

    def note(scenario: Scenario) -> Scenario:
        for name in scripts:
            SCENARIOS.setdefault(name, []).append(scenario)
        return scenario

    return note


@dataclass
class Ground:
    """What a scenario works with."""

    queue: Queue
    url: str
    one: Claims = field(init=False)
    two: Claims = field(init=False)

    def __post_init__(self) -> None:
        self.one = Claims(self.queue.connection, self.queue.settings, owner="one")
        self.two = Claims(self.queue.connection, self.queue.settings, owner="two")

    @property
    def redis(self) -> Any:  # noqa: ANN401 - the driver types its replies as awaitable or not
        """The server."""
        return self.queue.redis

    async def now_ms(self) -> int:
        """The server's clock."""
        seconds, micros = await self.redis.time()
        return int(seconds * 1000 + micros // 1000)

    async def put(self, job: Job, **options: Any) -> str:  # noqa: ANN401 - enqueue's
        """Enqueue a job, or join one; the id of the job that does the work."""
        return (await self.queue.enqueue(job, **options)).job_id

    async def take(
        self,
        lane: Lane,
        slots: int = 10,
        by: Claims | None = None,
        **options: Any,  # noqa: ANN401
    ) -> list[Claim]:
        """Claim what is due."""
        return list((await (by or self.one).claim(lane, slots, **options)).claims)

    async def ids(self, lane: Lane, slots: int = 10, by: Claims | None = None, **options: Any) -> list[str]:  # noqa: ANN401
        """The ids of what is claimed."""
        return [claim.job_id for claim in await self.take(lane, slots, by, **options)]

    async def end(self, claim: Claim, lane: Lane, ending: Ending = Ending.REMOVE, **more: Any) -> bool:  # noqa: ANN401
        """End a claim of the first process."""
        flag = wire.decode(claim.payload).flag if claim.payload else ""
        fair = wire.decode(claim.payload).fair if claim.payload else ""
        fields = {"flag": flag, "fair": fair, **more}
        return (await self.one.finish([Finish(lane, claim.job_id, ending, **fields)]))[0]

    async def upkeep(
        self, held: dict[str, list[str]] | None = None, *, rescue: bool = True, by: Claims | None = None
    ) -> dict[str, LaneNews]:
        """What one round of upkeep finds."""
        return await (by or self.one).upkeep(
            {lane: (held or {}).get(lane, []) for lane in LANES}, rescue=rescue
        )

    async def expire(self, lane: Lane, *ids: str) -> None:
        """The claims have expired: their worker is dead."""
        await self.redis.zadd(self.name(lane, ":running"), dict.fromkeys(ids, 1))

    async def score(self, lane: Lane, job_id: str, part: str = "") -> float | None:
        """A job's score in a lane's set."""
        found: float | None = await self.redis.zscore(self.name(lane, part), job_id)
        return found

    async def rung(self, lane: Lane) -> int:
        """Tokens in a lane's bell, which is empty afterwards."""
        found: int = await self.redis.llen(self.name(lane, ":bell"))
        await self.redis.delete(self.name(lane, ":bell"))
        return found

    async def get(self, what: str) -> str | None:
        """A key of the queue's own."""
        found: bytes | None = await self.redis.get(f"{PREFIX}:{what}")
        return None if found is None else found.decode()

    def name(self, lane: Lane, part: str = "") -> str:
        """A lane's set."""
        return wire.queue_name(self.queue.settings, lane) + part
