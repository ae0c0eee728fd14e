"""Reads numbers from untrusted text: always within bounds, never with an exception.

Redis holds text, which any client of it may have written. A text that is no number counts as the default, and
a number out of range becomes the nearest bound.
"""

from __future__ import annotations

import math
from typing import Any

MOST = 2**53
"""The largest integer that every reader has exactly: Lua, JSON and JavaScript count in doubles."""
LATEST_S = 253_402_300_799.0
"""The last second of the year 9999, since 1970: nothing after it is a date."""


def whole(found: Any, *, least: int = 0, most: int = MOST, default: int = 0) -> int:  # noqa: ANN401
    """A whole number within bounds, of text, bytes or a number."""
    try:
        number = int(found)
    except (ValueError, TypeError, OverflowError):
        return default
    return max(least, min(number, most))


def real(found: Any, *, least: float = 0.0, most: float = float(MOST), default: float = 0.0) -> float:  # noqa: ANN401
    """A number within bounds, of text, bytes or a number; NaN counts as the default."""
    try:
        number = float(found)
    except (ValueError, TypeError, OverflowError):
        return default
    return default if math.isnan(number) else max(least, min(number, most))
