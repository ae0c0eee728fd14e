"""The bytes of a ring, packed once: rings differ only in the job's id and the time.

Every request that writes sends one, so it is not encoded and packed each time.
"""

from __future__ import annotations

from collections.abc import Callable

ANY_ID = "\0" * 32
"""Placeholder of a job's id, of the same length; no prefix contains it."""
ANY_MS = 10**13 - 1
"""Placeholder of the time in milliseconds, which has 13 digits from 2001 to 2286."""


class Ringing:
    """Makes the bytes of a ring, given a function that packs one of a job id and a time."""

    def __init__(self, packed: Callable[[str, int], bytes]) -> None:
        self._pack = packed
        self._before, _, rest = packed(ANY_ID, ANY_MS).partition(ANY_ID.encode())
        self._between, _, self._after = rest.partition(b"%d" % ANY_MS)

    def packed(self, job_id: str, now_ms: int) -> bytes:
        """The bytes of the ring that enqueues this job."""
        if not ANY_MS // 10 < now_ms <= ANY_MS:  # a clock that is far off
            return self._pack(job_id, now_ms)
        return b"%b%b%b%d%b" % (self._before, job_id.encode(), self._between, now_ms, self._after)
