"""What readers must see at least: revisions of subjects, each from the moment at which it was applied.

Lower bounds only. A change counts from when this process learned that it is applied, so no read is judged by
what it may or may not have seen.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping


class Bounds:
    """For each subject the times (monotonic seconds) from which on a higher revision must be shown."""

    def __init__(self) -> None:
        self._times: dict[str, list[float]] = {}
        self._revisions: dict[str, list[int]] = {}

    def applied(self, shows: Mapping[str, int], at: float) -> None:
        """A change is in effect; times must not go back."""
        for subject, revision in shows.items():
            times, revisions = self._times.setdefault(subject, []), self._revisions.setdefault(subject, [])
            if not revisions or revision > revisions[-1]:
                times.append(at)
                revisions.append(revision)

    def least(self, subject: str, began: float) -> int | None:
        """The revision that a read begun at a time must show; None while none of this run is applied."""
        before = bisect_right(self._times.get(subject, []), began)
        return self._revisions[subject][before - 1] if before else None
