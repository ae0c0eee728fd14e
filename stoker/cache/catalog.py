"""All scope kinds and views of an application."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ValidationError

from stoker.cache.declared import check_all, check_unique, name_of
from stoker.cache.view import Access, EntryKey, Scope, ScopeKind, View
from stoker.errors import DeclarationError, InvalidParams, UnknownScope, UnknownView


@dataclass(frozen=True, kw_only=True)
class Catalog:
    """Scope kinds and views. They are checked against each other when the catalog is made."""

    scopes: tuple[ScopeKind, ...] = ()
    """Every scope kind; names are unique."""
    views: tuple[View, ...] = ()
    """Every view; names are unique."""

    def __post_init__(self) -> None:
        check_all(self.scopes, ScopeKind, "scopes")
        check_all(self.views, View, "views")
        check_unique("scope kind", [kind.name for kind in self.scopes])
        check_unique("view", [view.name for view in self.views])
        for view in self.views:
            if view.scope not in self.kinds_by_name:
                raise DeclarationError(
                    f"view {view.name} is of scope kind {view.scope!r}: declare that scope kind in `scopes`"
                )
            self._check_access(view)

    @cached_property
    def kinds_by_name(self) -> Mapping[str, ScopeKind]:
        """Every scope kind, by name."""
        return {kind.name: kind for kind in self.scopes}

    @cached_property
    def views_by_name(self) -> Mapping[str, View]:
        """Every view, by name."""
        return {view.name: view for view in self.views}

    @cached_property
    def access_views(self) -> frozenset[str]:
        """The names of the views that say who may read others."""
        return frozenset(view.access_view for view in self.views if view.is_guarded)

    @cached_property
    def views_guarded_by(self) -> Mapping[str, Sequence[View]]:
        """The views that each access view guards, by the name of the access view."""
        return {
            name: [one for one in self.views if one.access is Access.MEMBERS and one.access_view == name]
            for name in self.access_views
        }

    @cached_property
    def view_names_by_scope(self) -> Mapping[str, frozenset[str]]:
        """The names of the views of each scope kind."""
        return {
            kind.name: frozenset(view.name for view in self.views if view.scope == kind.name)
            for kind in self.scopes
        }

    def view(self, view: str | View) -> View:
        """The view of that name; raises UnknownView."""
        name = view if type(view) is str else name_of(view)
        try:
            return self.views_by_name[name]
        except KeyError:
            known = ", ".join(sorted(self.views_by_name)) or "none"
            raise UnknownView(f"no view {name[:40]!r}; there are: {known}", field="view") from None

    def scope(self, kind: str | ScopeKind, scope_id: object) -> Scope:
        """The scope of that kind and id; raises UnknownScope."""
        name = kind if type(kind) is str else name_of(kind)
        try:
            scope_kind = self.kinds_by_name[name]
        except KeyError:
            known = ", ".join(sorted(self.kinds_by_name)) or "none"
            raise UnknownScope(f"no scope kind {name[:40]!r}; there are: {known}", field="kind") from None
        return scope_kind.scope(scope_id)

    def key(
        self, view: str | View, scope_id: object, params: Mapping[str, Any] | BaseModel | None = None
    ) -> EntryKey:
        """The key of an entry; raises BadRequest naming what is wrong."""
        declared = self.view(view)
        return declared.key(self.scope(declared.scope, scope_id), params)

    def parent(self, view: str | View, within: object) -> Scope | None:
        """The parent that a view is read within; raises BadRequest where it is missing, wrong or needless."""
        declared = self.view(view)
        if declared.parent is None:
            if within is not None:
                raise InvalidParams(f"view {declared.name} is not read within a parent", field="within")
            return None
        if within is None:
            raise InvalidParams(
                f"view {declared.name} is read within a {declared.parent}: pass within=", field="within"
            )
        try:
            return self.scope(declared.parent, within)
        except UnknownScope as error:
            raise UnknownScope(str(error), field="within") from None

    def takes(self, key: EntryKey) -> bool:
        """Whether this release has the view, scope kind and parameters of a key that any release stored."""
        view = self.views_by_name.get(key.view)
        if view is None or view.scope != key.scope.kind or (view.params is None and key.params):
            return False
        try:
            view.params_of(key)
            return self.scope(*key.scope) == key.scope
        except (ValidationError, UnknownScope):
            return False

    def _check_access(self, view: View) -> None:
        if not view.is_guarded:
            return
        guard, kind = self.views_by_name.get(view.access_view), view.parent or view.scope
        if guard is None or guard.scope != kind or guard.params or guard.access is not Access.ANYONE:
            raise DeclarationError(
                f"view {view.name} needs a view {view.access_view!r} of scope kind {kind!r} without "
                "parameters and with Access.ANYONE, whose value is an object of reader id -> role"
            )
