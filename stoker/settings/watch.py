"""From which figures on console, `stoker status` and /api/overview call something slow or cold."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveFloat

from stoker.settings.tables import Table

Share = Annotated[float, Field(ge=0, le=1)]


class WatchSettings(Table):
    """Table [watch]."""

    slow_read_s: PositiveFloat = 1
    """Seconds: a view is called slow when the p99 of its reads in five minutes is above."""
    slow_read_of_s: dict[str, PositiveFloat] = Field(default_factory=dict)
    """The same for single views: { export = 5 }. Raise it where a slow view is meant to be slow."""
    hit_rate_of: dict[str, Share] = Field(default_factory=dict)
    """Share of hits in an hour below which a view is called cold, by view: { dashboard = 0.8 }. Views left
    out are never called cold: many are searched with other parameters each time."""

    def slow_from_s(self, view: str) -> float:
        """From how many seconds on reads of a view are slow."""
        return self.slow_read_of_s.get(view, self.slow_read_s)
