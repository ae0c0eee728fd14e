"""The clock and the constants of terms; docs/decisions/0025 has the protocol and why it holds."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

SERVED = 0.8
"""Share of a term for which a reader serves; whoever applies waits the whole. Clocks that are being adjusted
run up to 10 % fast or slow, and so may those of the two."""
SURE_S = 10.0
"""Seconds after a term was lowered until nobody begins to serve by the old one. A reader that has learned a
term uses it for the share SERVED of this time."""
LEARN_S = 2.0
"""Seconds between two times that a reader learns the term."""

# CLOCK_BOOTTIME counts while the machine sleeps; CLOCK_MONOTONIC does not on Linux, but does elsewhere.
now_s: Callable[[], float] = partial(
    time.clock_gettime, getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
)
"""The clock of terms, in seconds. Only differences within one process mean anything."""
