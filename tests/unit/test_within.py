"""Views within a parent, and the reader SYSTEM: what is refused where it is declared."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from stoker import SYSTEM, Access, DeclarationError, EntryKey, Scope, ScopeKind, View, Within
from stoker.cache.catalog import Catalog
from stoker.cache.keys import KeySpace


async def load(_session: AsyncSession, _keys: Sequence[EntryKey]) -> Mapping[EntryKey, Any]:
    return {}


ACCESS = View("access", "shop", load, access=Access.ANYONE)
KEY = EntryKey("access", Scope("shop", "1"))


def refused(what: Callable[[], object], message: str) -> None:
    with pytest.raises(DeclarationError, match=message):
        what()


def _page(access_view: str = "access") -> View:
    return View("page", "order", load, access=Access.within("shop"), access_view=access_view)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            {"a": 1},
            r"returned a dict for order:1/page: return Within\(parent_id, value\) with the id of the shop",
        ),
        (Within(1.5, {}), "returned 1.5 as the id of a parent: return an int, or a str"),
        (Within("a b", {}), "returned 'a b' as the id of a parent"),
        (Within(True, {}), "returned True as the id of a parent"),
    ],
)
def test_a_loader_within_a_parent_says_which(answer: object, message: str) -> None:
    key = EntryKey("page", Scope("order", "1"))
    refused(lambda: _page().bodies([key], {key: answer}), message)


def test_parents_are_told_apart_by_kind_and_id() -> None:
    one, two, three = (EntryKey("page", Scope("order", number)) for number in "123")
    answer = {one: Within(7, {}), two: Within("seven", b"[]"), three: Within(None, {})}
    bodies, parents = _page().bodies([one, two, three], answer)
    assert bodies == {one: b"{}", two: b"[]"}
    assert parents == {one: b"shop:7", two: b"shop:seven"}


def test_a_view_that_is_within_no_parent_returns_no_parent() -> None:
    refused(lambda: ACCESS.bodies([KEY], {KEY: Within(1, {})}), r"declare access=Access.within\(\.\.\.\)")


def test_a_view_within_a_parent_needs_the_parents_access_view() -> None:
    order = View("order_access", "order", load, access=Access.ANYONE)
    kinds = (ScopeKind("order"), ScopeKind("shop"))
    Catalog(scopes=kinds, views=(_page(), ACCESS))
    refused(
        lambda: Catalog(scopes=kinds, views=(_page(access_view="order_access"), order)),
        "view page needs a view 'order_access' of scope kind 'shop'",
    )
    refused(lambda: Access.within("No Shop"), "Access.within: scope kind name 'No Shop'")


def test_entries_are_kept_apart_where_their_access_begins_to_be_within_a_parent() -> None:
    keys = KeySpace("p", "i")
    key = EntryKey("page", Scope("order", "1"))
    plain = View("page", "order", load, access_view="access")
    assert keys.entry(key, plain.layout).entry != keys.entry(key, _page().layout).entry
    assert keys.entry(key, plain.layout).stamp == keys.entry(key, _page().layout).stamp


def test_the_system_reader_is_not_stored_or_sent() -> None:
    with pytest.raises(TypeError, match="SYSTEM is not stored or sent"):
        pickle.dumps(SYSTEM)
