"""The declaration of a table whose changes the database records by itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from stoker.cache.declared import name_of
from stoker.cache.view import View
from stoker.errors import DeclarationError
from stoker.rules import Event

MOST = 1000
"""Events of one statement, unless a capture says otherwise."""


@dataclass(frozen=True)
class Capture:
    """A table whose changes the database records as events, whoever writes to it.

    `table` as SQL names it: `tickets`, `sales.orders`, `"Odd name"`. `fields`: field of the event -> column.
    Each statement records one event for each distinct set of these columns in the rows that it changed, as
    they were before and as they are now, in the writer's own transaction. The event's rule says what it
    invalidates when it is applied. `stoker migrate` makes the triggers.
    """

    table: str
    event: type[Event]
    fields: Mapping[str, str] = field(hash=False)
    columns: tuple[str, ...] | None = None
    """Columns whose change in an UPDATE matters, beside those of `fields`; None: every column."""
    views: frozenset[str] = frozenset()
    """What is invalidated, softly, where single rows cannot be named: after TRUNCATE, after more than `most`
    distinct sets, after an error in the trigger. Empty: every view, hard. Name none where rights depend on
    the table."""
    most: int = MOST
    """Events that one statement records at most; beyond that it records one that invalidates `views`."""

    def __post_init__(self) -> None:
        what = f"capture of {self.table!r:.80}"
        if not isinstance(self.table, str) or not self.table.strip():
            raise DeclarationError(f"a capture needs the name of a table, not {self.table!r:.60}")
        if not (isinstance(self.event, type) and issubclass(self.event, Event)):
            raise DeclarationError(f"{what}: `event` must be a subclass of Event, not {self.event!r:.60}")
        self._check_fields(what)
        if self.columns is not None and not _are_names(self.columns):
            raise DeclarationError(
                f'{what}: `columns` must be a tuple of columns, not {self.columns!r:.80}: write ("status",)'
            )
        if isinstance(self.views, str | View) or not isinstance(self.views, Iterable):
            raise DeclarationError(f"{what}: `views` must be a set of views, not {self.views!r:.60}")
        if type(self.most) is not int or self.most < 1:
            raise DeclarationError(f"{what}: `most` must be a number of events, 1 or more")
        object.__setattr__(self, "views", frozenset(map(name_of, self.views)))  # the class is frozen

    def _check_fields(self, what: str) -> None:
        if not isinstance(self.fields, Mapping) or not _are_names((*self.fields, *self.fields.values())):
            raise DeclarationError(
                f'{what}: `fields` must map fields of the event to columns: {{"ticket_id": "id"}}'
            )
        declared = self.event.model_fields
        if unknown := sorted(set(self.fields) - set(declared)):
            raise DeclarationError(
                f"{what}: {self.event.__name__} has no field {unknown[0]!r}; it has: "
                f"{', '.join(declared) or 'none'}"
            )
        for name, one in declared.items():
            if one.is_required() and name not in self.fields:
                raise DeclarationError(
                    f"{what}: no column for the field {name!r} of {self.event.__name__}: add it to `fields`"
                )


def _are_names(names: object) -> bool:
    return isinstance(names, tuple) and all(isinstance(one, str) and one for one in names)
