"""Lanes: queues with slots of their own, so that no job waits for the jobs of another lane."""

from __future__ import annotations

import math
import re
from typing import ClassVar, Self

from pydantic_core import CoreSchema
from pydantic_core.core_schema import no_info_after_validator_function, str_schema

from stoker.errors import DeclarationError

LANE = re.compile(r"[a-z][a-z0-9_]{0,31}")
QUEUE = re.compile(r"[!-.0-~]*:[!-.0-~]*")
"""The lane of a queue that another application named: visible ASCII with a colon, and without a slash."""
LONGEST = 32
RESERVED = frozenset(
    {"batch", "batches", "batches_ended", "begun", "bell", "blamed", "cancelling", "chaos", "clock"}
    | {"concurrency", "console_key", "held", "installation", "life", "observed", "progress", "rate"}
    | {"requested", "rescues", "result", "suspect", "waiting"}
)
"""Names that follow the prefix in other keys of the queue."""


class Lane(str):
    """A queue with slots of its own, so that no job waits for the jobs of another lane.

    A lane is its name: 1 to 32 lower-case letters, digits and _. `concurrency`: how many of its jobs run at
    once in one worker process. `rate_per_s`: how many all workers together begin in a second; 0: no limit.
    `fair_cap`: how many of one `fair_key` run at once in all workers together; 0: no limit. The settings
    `lanes.NAME.concurrency`, `lanes.NAME.rate_per_s` and `lanes.NAME.fair_cap` win.
    """

    __slots__ = ("concurrency", "fair_cap", "rate_per_s")
    concurrency: int
    rate_per_s: float
    fair_cap: int
    CHANGES: ClassVar[Lane]
    """Relays and invalidations: Stoker's own jobs only."""
    REFRESH: ClassVar[Lane]
    """Rebuilds of single entries."""
    WARM: ClassVar[Lane]
    """Bulk warming and maintenance."""

    def __new__(cls, name: str, concurrency: int = 4, rate_per_s: float = 0, fair_cap: int = 0) -> Self:
        """Raises DeclarationError for an impossible name or number."""
        if not isinstance(name, str) or not LANE.fullmatch(name) or name in RESERVED:
            raise DeclarationError(
                f"lane name {name!r:.60}: use 1 to 32 lower-case letters, digits and _, beginning with "
                f"a letter, and none of {', '.join(sorted(RESERVED))}"
            )
        if not isinstance(concurrency, int) or concurrency < 1:
            raise DeclarationError(f"lane {name}: concurrency must be 1 or more, not {concurrency!r:.60}")
        if not isinstance(rate_per_s, int | float) or not 0 <= rate_per_s < math.inf:
            raise DeclarationError(f"lane {name}: rate_per_s must be 0 or more, not {rate_per_s!r:.60}")
        if not isinstance(fair_cap, int) or fair_cap < 0:
            raise DeclarationError(f"lane {name}: fair_cap must be 0 or more, not {fair_cap!r:.60}")
        lane = super().__new__(cls, name)
        lane.concurrency, lane.rate_per_s, lane.fair_cap = concurrency, rate_per_s, fair_cap
        return lane

    @classmethod
    def of_queue(cls, queue: str, concurrency: int) -> Self:
        """The lane of a queue that is not named by Stoker, such as arq's own: its name is that of the queue.

        A name without a colon gets one at its beginning, which tells it from the lanes of Stoker. Raises
        DeclarationError.
        """
        name = queue if ":" in queue else f":{queue}"
        if not QUEUE.fullmatch(name) or len(name) > LONGEST:
            raise DeclarationError(
                f"queue_name {queue!r:.60}: use up to {LONGEST} visible ASCII characters without a slash"
            )
        lane = super().__new__(cls, name)
        lane.concurrency, lane.rate_per_s, lane.fair_cap = concurrency, 0, 0
        return lane

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: object) -> CoreSchema:
        """In models a lane is its name."""
        return no_info_after_validator_function(
            _named, str_schema(pattern=f"^({LANE.pattern}|{QUEUE.pattern})$")
        )


def _named(name: str) -> Lane:
    try:
        return Lane.of_queue(name, 1) if ":" in name else Lane(name)
    except DeclarationError as error:
        raise ValueError(str(error)) from None


Lane.CHANGES, Lane.REFRESH, Lane.WARM = Lane("changes", 4), Lane("refresh", 6), Lane("warm", 2)
LANES = (Lane.CHANGES, Lane.REFRESH, Lane.WARM)
"""The lanes of Stoker's own jobs."""
