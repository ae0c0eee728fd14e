"""Moments as operators write them: `2h` ago, `14:00` today, a date and time. Without a zone they are UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator

AGO = re.compile(r"^(\d{1,6}) ?(s|min|m|h|d)$", re.ASCII)
UNIT_S = {"s": 1, "min": 60, "m": 60, "h": 3_600, "d": 86_400}


def moment(given: Any) -> datetime:  # noqa: ANN401 - pydantic gives whatever a caller sent
    """The moment that a text names; raises ValueError with what it may be."""
    if isinstance(given, datetime):
        return _in_utc(given)
    text = str(given).strip()
    now = datetime.now(UTC)
    if ago := AGO.match(text):
        return now - timedelta(seconds=int(ago[1]) * UNIT_S[ago[2]])
    try:
        if re.match(r"^\d\d:\d\d", text):
            today = datetime.combine(now.date(), time.fromisoformat(text)).replace(tzinfo=UTC)
            return today if today <= now else today - timedelta(days=1)
        return _in_utc(datetime.fromisoformat(text))
    except ValueError:
        msg = f"{text[:40]!r} is no moment: write 2h, 30min, 14:00 or 2026-01-31T14:00, in UTC"
        raise ValueError(msg) from None


def _in_utc(found: datetime) -> datetime:
    try:
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except OverflowError:
        msg = "the moment is out of range"
        raise ValueError(msg) from None


Moment = Annotated[datetime, BeforeValidator(moment)]
"""A moment in the past: an ISO time, a time of today, or a duration before now."""
