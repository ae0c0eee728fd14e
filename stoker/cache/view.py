"""What can be cached: views of scopes, and the key of one entry.

A view is declared once, beside its domain. This module touches no server: it validates names, ids and
parameters and gives each entry its canonical, collision-free identity.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from functools import cached_property
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError, to_json
from sqlalchemy.ext.asyncio import AsyncSession

from stoker.cache.declared import check_async, check_name, name_of
from stoker.cache.within import AccessWithin, split_parents
from stoker.errors import DeclarationError, InvalidParams, UnknownScope
from stoker.settings import LONGEST_TTL_S

LARGEST_ID = 2**63 - 1
NUMBER = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
TEXT = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
"""What ids of scopes may be."""


class Access(StrEnum):
    """Who may read the entries of a view."""

    MEMBERS = "members"
    """Readers named by the access view of the same scope (an object of reader id -> role), on every read."""
    OWNER = "owner"
    """Only the reader whose id is the scope's id."""
    ANYONE = "anyone"
    """Public data."""

    @staticmethod
    def within(parent: str | ScopeKind) -> AccessWithin:
        """Readers named by the access view of the parent that the entry belongs to, on every read.

        One access entry serves all entries of a parent: those of a tenant's tickets, for example. The view's
        `access_view` is one of the scope kind `parent`, its loader returns `Within(parent_id, value)`, and a
        read says `within=parent_id`. Under any other parent the entry does not exist.
        """
        return AccessWithin(name_of(parent))


class Scope(NamedTuple):
    """The thing whose change makes entries wrong: `order:42`.

    The id is canonical text (see `ScopeKind.scope`); `number` is it as an integer.
    """

    kind: str
    id: str

    @property
    def number(self) -> int:
        """The id of a scope whose kind has integer ids."""
        return int(self.id)

    def __str__(self) -> str:
        return f"{self.kind}:{self.id}"


@dataclass(frozen=True, slots=True)
class ScopeKind:
    """A kind of scope and the type of its ids: `int` (rows), or `str` of letters, digits, `.`, `_`, `-`."""

    name: str
    id_type: type[int | str] = int

    def __post_init__(self) -> None:
        check_name(self.name, "scope kind")
        if self.id_type not in (int, str):
            raise DeclarationError(f"the ids of scope kind {self.name} must be of type int or str")

    def scope(self, scope_id: object) -> Scope:
        """The scope of this id; raises UnknownScope for one that is not of the type.

        Refusing instead of escaping keeps hostile ids out of keys: `42` and `042` are never two
        spellings of one scope.
        """
        text = str(scope_id)
        if self.id_type is int:
            ok = NUMBER.fullmatch(text) is not None and int(text) <= LARGEST_ID
        else:
            ok = TEXT.fullmatch(text) is not None
        if not ok or isinstance(scope_id, bool):
            wanted = "an integer of 0 or more" if self.id_type is int else "1 to 64 of A-Z a-z 0-9 . _ -"
            raise UnknownScope(f"{self.name} id {text[:40]!r} is not {wanted}", field="id")
        return Scope(self.name, text)


class EntryKey(NamedTuple):
    """The identity of one entry: which view, of which scope, with which parameters.

    `params` is canonical JSON (sorted keys, defaults written out), or empty for a view that takes none.
    """

    view: str
    scope: Scope
    params: str = ""

    def __str__(self) -> str:
        return f"{self.scope}/{self.view}" + (f"?{self.params}" if self.params else "")


Loader = Callable[[AsyncSession, Sequence[EntryKey]], Awaitable[Mapping[EntryKey, Any]]]
"""Builds the values of many entries of one view in as few statements as one needs.

Called in a fresh read-only transaction, after the stamps were taken. Returns JSON-able values; a key that
is left out does not exist (any more).
"""

Bodies = tuple[dict[EntryKey, bytes], dict[EntryKey, bytes]]
"""Entries as JSON, and the parents that those within a parent belong to."""


@dataclass(frozen=True, init=False)
class View:
    """A cached read model. Raises DeclarationError for what cannot work.

    `scope` and `access_view` take a name, or the ScopeKind and the View themselves.
    """

    name: str
    """1 to 32 of a-z, 0-9 and _, beginning with a letter. Part of every key."""
    scope: str
    """The name of its scope kind."""
    load: Loader
    """`async load(session, keys)`: builds many entries in as few statements as one needs, in a fresh
    read-only transaction. Returns key -> a value that JSON can hold, or its JSON as bytes; a key that is left
    out does not exist."""
    ttl: timedelta | None
    """Time until an entry expires, at most 46 days; None takes CACHE_DEFAULT_TTL."""
    params: type[BaseModel] | None
    """A pydantic model of a request's parameters; None for a view without any. Each combination is an entry.
    Names that it does not have are refused, whatever its own configuration says of them."""
    access: Access | AccessWithin
    """Who may read its entries."""
    access_view: str
    """The view that says who may read: of the same scope kind under Access.MEMBERS, of the parent's under
    Access.within."""
    version: int
    """Raise it when the shape of the value changes, so that two releases keep separate entries."""

    def __init__(  # noqa: PLR0913 - a declaration; all but three are named
        self,
        name: str,
        scope: str | ScopeKind,
        load: Loader,
        *,
        ttl: timedelta | None = None,
        params: type[BaseModel] | None = None,
        access: Access | AccessWithin = Access.MEMBERS,
        access_view: str | View = "access",
        version: int = 1,
    ) -> None:
        # The class is frozen, so its fields are set through `object.__setattr__`.
        vars(self).update(name=name, scope=name_of(scope), load=load, ttl=ttl, params=params)
        vars(self).update(access=access, access_view=name_of(access_view), version=version)
        check_name(self.name, "view")
        check_name(self.scope, f"view {self.name}: scope kind")
        check_name(self.access_view, f"view {self.name}: access view")
        check_async(self.load, f"the loader of view {self.name}", "session", "keys")
        self._check_ttl()
        self._check_options()

    def _check_ttl(self) -> None:
        if self.ttl is None:
            return
        if not isinstance(self.ttl, timedelta):
            raise DeclarationError(
                f"the ttl of view {self.name} is {self.ttl!r:.40}: write timedelta(seconds=...)"
            )
        if not 0 < self.ttl.total_seconds() <= LONGEST_TTL_S:
            raise DeclarationError(f"the ttl of view {self.name} is not within 0 and {LONGEST_TTL_S} seconds")

    def _check_options(self) -> None:
        if self.params is not None and not (
            isinstance(self.params, type) and issubclass(self.params, BaseModel)
        ):
            raise DeclarationError(f"the params of view {self.name} must be a pydantic model, or None")
        if self.params is not None and self.params.model_config.get("extra") == "allow":
            raise DeclarationError(
                f"the params of view {self.name} allow any name, and each would be an entry: leave out "
                '`extra="allow"`'
            )
        if not isinstance(self.access, Access | AccessWithin):
            raise DeclarationError(
                f"the access of view {self.name} must be one of {', '.join(Access)}, or Access.within(...)"
            )
        if self.name == self.access_view and self.is_guarded:
            raise DeclarationError(f"the view {self.name} cannot be guarded by itself: declare Access.ANYONE")
        if not isinstance(self.version, int) or self.version < 1:
            raise DeclarationError(f"the version of view {self.name} must be a number from 1 on")

    @property
    def parent(self) -> str | None:
        """The scope kind of the parents that its entries belong to; None where they belong to none."""
        return self.access.parent if isinstance(self.access, AccessWithin) else None

    @property
    def is_guarded(self) -> bool:
        """Whether an access entry says who may read."""
        return self.access is Access.MEMBERS or self.parent is not None

    @property
    def layout(self) -> int | str:
        """Its version, and in what its entries are: where one of both differs, entries are kept apart."""
        return self.version if self.parent is None else f"{self.version}.{self.parent}"

    def bodies(self, asked: Sequence[EntryKey], answer: Mapping[EntryKey, Any]) -> Bodies:
        """The JSON of what the loader answered, and the parents that the entries belong to, if any.

        Raises DeclarationError for what no loader may answer.
        """
        if not isinstance(answer, Mapping):
            raise DeclarationError(
                f"the loader of view {self.name} returned a {type(answer).__name__}: return a dict from the "
                "keys that it was given to their values"
            )
        if strangers := answer.keys() - asked:
            raise DeclarationError(
                f"the loader of view {self.name} answered for {next(iter(strangers))!r:.100}, which was not "
                "asked for: return a dict whose keys are the EntryKeys that it was given"
            )
        values, parents = split_parents(self.name, self.parent, answer)
        return {key: self._body(key, value) for key, value in values.items() if value is not None}, parents

    def _body(self, key: EntryKey, value: Any) -> bytes:  # noqa: ANN401 - whatever a loader returns
        try:
            return value if isinstance(value, bytes) else to_json(value)
        except PydanticSerializationError as error:
            raise DeclarationError(
                f"the loader of view {self.name} returned a value for {key} that is not JSON: {error}"
            ) from error

    def key(self, scope: Scope, params: Mapping[str, Any] | BaseModel | None = None) -> EntryKey:
        """The key of this view's entry; raises InvalidParams naming the field."""
        if self.params is None:
            if params:
                raise InvalidParams(f"view {self.name} takes no parameters", field="params")
            return EntryKey(self.name, scope)
        try:
            model = self.params.model_validate(params if params is not None else {}, extra="forbid")
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            field = ".".join(str(part) for part in first["loc"]) or "params"
            raise InvalidParams(f"view {self.name}: {field}: {first['msg']}", field=field) from None
        return EntryKey(self.name, scope, _canonical(model))

    def params_of(self, key: EntryKey) -> Any:  # noqa: ANN401 - each view has a model of its own
        """The parsed parameters of a key of this view; None for a view that takes none.

        Raises pydantic's ValidationError for a key of another release with parameters that this one does not
        have: its entry would be built as if they were not there.
        """
        if self.params is None:
            return None
        return self.params.model_validate_json(key.params, extra="forbid", by_name=True)

    def default_key(self, scope: Scope) -> EntryKey | None:
        """The entry that a plain request reads, or None when the view has no default parameters."""
        return None if self._default_params is None else EntryKey(self.name, scope, self._default_params)

    @cached_property
    def _default_params(self) -> str | None:
        try:
            return self.key(Scope(self.scope, "0")).params
        except InvalidParams:
            return None


def _canonical(model: BaseModel) -> str:
    # Field order is the model's own, so equal models give equal bytes. What `params_of` parses: names, no
    # aliases, and no computed fields.
    return model.model_dump_json(by_alias=False, exclude_computed_fields=True)
