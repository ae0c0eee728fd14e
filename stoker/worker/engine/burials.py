"""The dead letters of one lane: a job's letter is committed before the job leaves Redis (RACES 40).

While Postgres is away, claims are kept and renewed until their letters have committed. When too many wait,
the lane claims no more jobs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta

from stoker.errors import Unavailable
from stoker.worker.engine.dead_letters import DeadLetters
from stoker.worker.engine.letter import Letter
from stoker.worker.engine.supervisor import supervise

logger = logging.getLogger(__name__)

MOST = 100
"""Dead jobs waiting for Postgres above which a lane claims no more."""
LONGEST_DELAY = timedelta(seconds=5)
"""Between attempts."""


class Burials:
    """Those under way."""

    def __init__(self, letters: DeadLetters, ended: Callable[[], None]) -> None:
        self._letters = letters
        self._ended = ended
        self._waiting = 0

    @property
    def too_many(self) -> bool:
        """Whether so many wait that the lane must claim no more jobs."""
        return self._waiting >= MOST

    async def bury(self, letter: Letter) -> None:
        """Wait until the letter has committed, however long that takes."""
        self._waiting += 1
        try:
            await supervise("burial", lambda: self._bury(letter), longest=LONGEST_DELAY)
        finally:
            self._waiting -= 1
            self._ended()
        extra = {"lane": letter.lane, "job_id": letter.job_id, "kind": letter.kind, "reason": letter.reason}
        logger.warning("engine.job_dead", extra=extra)

    async def _bury(self, letter: Letter) -> None:
        try:
            await self._letters.bury(letter)
        except Unavailable:
            raise
        except Exception:
            # Postgres refuses the letter's contents and would refuse them again. It accepts them as bytes.
            logger.exception("engine.letter_refused", extra={"job_id": letter.job_id, "kind": letter.kind})
            await self._letters.bury(letter.as_bytes())
