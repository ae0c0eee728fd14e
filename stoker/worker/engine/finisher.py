"""Ends claims in batches: claims that end while one call is under way go with the next call.

No end waits for others to join it: in a backlog, ends accumulate behind the call under way (measured:
docs/decisions/0003-wrapping-arq.md). An end is kept until Redis has answered: a job that ran while Redis was
away is ended once Redis is back.
"""

from __future__ import annotations

import asyncio

from stoker.errors import Unavailable
from stoker.worker.engine.claims import Claims, Finish

BATCH = 200


class Finisher:
    """The ends of one process's claims."""

    def __init__(self, claims: Claims) -> None:
        self._claims = claims
        self._waiting: list[tuple[Finish, asyncio.Future[bool]]] = []
        self._some = asyncio.Event()

    async def finish(self, end: Finish) -> bool:
        """Wait until the claim has ended in Redis, however long that takes; False if it was lost."""
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((end, future))
        self._some.set()
        return await future

    async def run(self) -> None:
        """Write ends until cancelled; raises QueueUnavailable. Run again, it continues where it was."""
        while True:
            await self._some.wait()
            while self._waiting:
                await self._finish(self._waiting[:BATCH])
            self._some.clear()

    async def _finish(self, batch: list[tuple[Finish, asyncio.Future[bool]]]) -> None:
        try:
            kept = await self._claims.finish([end for end, _ in batch])
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 - whatever one of them holds
            # One end that cannot be written must not hold up the others, so each is tried alone.
            if len(batch) == 1:
                self._settle(error)
            else:
                for one in batch:
                    await self._finish([one])
            return
        for was_kept in kept:
            self._settle(was_kept)

    def _settle(self, result: bool | Exception) -> None:  # noqa: FBT001 - what a future gets
        """Resolve the first future that still waits for this claim."""
        _, future = self._waiting.pop(0)
        if future.done():
            return
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
