"""What `stoker cover --mutate` found: what was tried, what was missed, what was invalidated without need."""

from __future__ import annotations

from dataclasses import dataclass, field

from stoker.cache.view import EntryKey
from stoker.coverage.cover import ViewCoverage
from stoker.coverage.mutations import ADDED, REMOVED


@dataclass(slots=True)
class Missed:
    """Entries of a view that changed, and that nothing invalidated."""

    view: str
    entry: EntryKey
    """The first of them."""
    row: str
    """The row whose change it was, by its key."""
    events: list[str]
    """Kinds of the events of this change; none where nothing records it."""
    times: int = 0


@dataclass(slots=True)
class Needless:
    """How often entries of a view were invalidated by a change, and how often without need."""

    view: str
    invalidated: int = 0
    unchanged: int = 0

    @property
    def always(self) -> bool:
        """Whether no invalidation was needed."""
        return self.unchanged == self.invalidated


@dataclass(slots=True)
class Tried:
    """What was tried of one column, or of the rows of a table."""

    table: str
    what: str
    """The column; or `(row added)`, `(row removed)`."""
    of_key: bool = False
    """Whether the column is of the primary key."""
    changes: int = 0
    """Changes that Postgres took."""
    effective: int = 0
    """Those that changed an entry."""
    unproven: str = ""
    """Why nothing is known of it; empty if something is."""
    failed: str = ""
    """What a rule raised, asked about one of the changes: its event would not be applied."""
    believed: list[str] = field(default_factory=list)
    """Kinds of events that are believed to cover it: they cannot be made from a row."""
    missed: dict[str, Missed] = field(default_factory=dict)
    needless: dict[str, Needless] = field(default_factory=dict)
    """Both by view."""

    def __str__(self) -> str:
        return f"{self.table} {self.what}" if self.what in (ADDED, REMOVED) else f"{self.table}.{self.what}"


@dataclass(slots=True)
class Proof:
    """What was tried, and found."""

    views: list[ViewCoverage]
    tried: list[Tried]
    entries: int
    """Sample entries that were compared after each change."""
    unstable: list[str]
    """Entries that changed without any change of the data: these were not compared."""
    untouched: list[str]
    """Views of which no change changed an entry: nothing is proven of them."""

    @property
    def missed(self) -> list[tuple[Tried, Missed]]:
        """Changes of entries that nothing invalidated."""
        return [(one, missed) for one in self.tried for missed in one.missed.values()]

    @property
    def needless(self) -> list[tuple[Tried, Needless]]:
        """Views that a change invalidated and never changed. Not of keys, which hardly ever change."""
        tried = [one for one in self.tried if not one.of_key]
        return [(one, view) for one in tried for view in one.needless.values() if view.always]

    @property
    def sound(self) -> bool:
        """Whether nothing was missed, no rule failed, and every view is covered and was tried."""
        wrong = self.missed or self.untouched or any(one.failed for one in self.tried)
        return not wrong and all(view.sound for view in self.views)
