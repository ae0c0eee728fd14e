"""Events, and the rules that say which entries each of them makes wrong."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict
from sqlalchemy.ext.asyncio import AsyncSession

from stoker.cache.declared import check_async, check_plain, name_of
from stoker.cache.view import EntryKey, Scope, View
from stoker.errors import DeclarationError

OWN_KINDS = "stoker."
"""Begins the kinds of events that Stoker records itself."""
ASK_RULE = "?"
"""In the place of a scope's kind where a trigger recorded the event: a trigger cannot ask a rule, so the
relay asks it, and stores the scopes that it names. If it cannot, this is as EVERY_SCOPE."""
EVERY_SCOPE = "*"
"""In the place of a scope's kind: the views of every scope in the cache; all views, if none is named."""
LONGEST_KIND = 64
"""Characters of an event's kind."""


class Event(BaseModel):
    """A fact about the database, recorded in the transaction that made it true.

    `kind` is stored: never rename it, add a new one. Fields carry what the writer saw (the audience of the
    change); later rows may already be gone when the event is applied.
    """

    # The values of fields stay out of logs: errors name the field alone.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    kind: ClassVar[str]

    @classmethod
    def __pydantic_init_subclass__(cls, **_: object) -> None:
        """Refuse a kind that is a field or not a name; a class without one may be the base of others."""
        if "kind" in cls.model_fields:
            raise DeclarationError(
                f'event {cls.__name__}: `kind` must not be a field: write `kind = "order.changed"` without a '
                "type, or with ClassVar[str]"
            )
        kind = getattr(cls, "kind", None)
        if kind is not None and not (isinstance(kind, str) and 0 < len(kind) <= LONGEST_KIND):
            raise DeclarationError(
                f"event {cls.__name__}: `kind` must be a text of 1 to {LONGEST_KIND} characters, "
                f"not {kind!r:.80}"
            )


@dataclass(frozen=True, init=False, slots=True)
class Invalidation:
    """Which views of one scope are wrong now; an empty `views` means every view of the scope.

    `views` takes names or the Views themselves. Soft: entries may still be served, marked stale, when their
    loader fails. Hard: never again.
    """

    scope: Scope
    views: frozenset[str]
    hard: bool

    def __init__(self, scope: Scope, views: Iterable[str | View] = frozenset(), hard: bool = False) -> None:  # noqa: FBT001, FBT002 - the scope and its views come by position, and this may
        if not isinstance(scope, Scope):
            raise DeclarationError(
                f"an invalidation needs a Scope, not {scope!r:.60}: write ORDER.scope(order_id), where ORDER "
                "is a ScopeKind"
            )
        if isinstance(views, str | View):
            raise DeclarationError(
                f"an invalidation needs a set of views, not {views!r:.60}: write {{{name_of(views)!r}}}"
            )
        set_ = object.__setattr__  # the class is frozen
        set_(self, "scope", scope)
        set_(self, "views", frozenset(map(name_of, views)))
        set_(self, "hard", hard)

    def covers(self, key: EntryKey) -> bool:
        """Whether it makes an entry invalid."""
        return self.scope in (key.scope, (EVERY_SCOPE, "")) and (not self.views or key.view in self.views)


E = TypeVar("E", bound=Event)
AudienceQuery = Callable[[AsyncSession, Sequence[E]], Awaitable[Iterable[Invalidation]]]


@dataclass(frozen=True)
class Rule(Generic[E]):
    """Which views of which scopes an event invalidates.

    `invalidates` is computed from the event alone, when it is recorded, and stored with it. `audience`, if
    given, adds what the database says when the event is applied: a member who joined in between must not keep
    a stale list (RACES 32). It gets many events of its type at once.
    """

    event: type[E]
    invalidates: Callable[[E], Iterable[Invalidation]]
    audience: AudienceQuery[E] | None = None
    covers: tuple[str, ...] = ()
    """Columns whose changes the application records with this event, as `tickets.status`; `tickets.*` for all
    of a table. `stoker cover` believes it."""

    def __post_init__(self) -> None:
        if not (isinstance(self.event, type) and issubclass(self.event, Event)):
            raise DeclarationError(f"a rule is for a subclass of Event, not for {self.event!r:.60}")
        name = self.event.__name__
        if not hasattr(self.event, "kind"):
            raise DeclarationError(
                f'event {name} has no `kind`: write `kind = "order.changed"`, and never rename it'
            )
        check_plain(self.invalidates, f"`invalidates` of the rule for {name}", "event")
        if self.audience is not None:
            check_async(self.audience, f"`audience` of the rule for {name}", "session", "events")
        if not isinstance(self.covers, tuple | list) or not all(
            isinstance(one, str) and one.rpartition(".")[0] for one in self.covers
        ):
            raise DeclarationError(
                f"`covers` of the rule for {name} is {self.covers!r:.100}: write a tuple of columns, each as "
                '"table.column"'
            )
