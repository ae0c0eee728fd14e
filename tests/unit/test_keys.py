"""Keys: whatever users send, two different things never share a key, and nobody reaches another's."""

from __future__ import annotations

import re
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, StringConstraints, computed_field

from stoker import Access, EntryKey, InvalidParams, Scope, ScopeKind, View
from stoker.cache.keys import KeySpace, parse_key, write_key
from stoker.domain import Domain
from stoker.errors import UnknownScope

NUMBERED, NAMED = ScopeKind("order"), ScopeKind("shelf", str)
SAFE = re.compile(rb"[\x21-\x7e]+")


class Query(BaseModel):
    """Parameters that users type."""

    text: Annotated[str, StringConstraints(max_length=200_000)] = ""
    limit: int = 20


class Aliased(BaseModel):
    """Parameters whose field has another name in requests, and a field that is computed."""

    text: str = Field(alias="q")

    @computed_field  # type: ignore[prop-decorator]
    @property
    def length(self) -> int:
        return len(self.text)


async def load(*_: object) -> dict[EntryKey, object]:
    return {}


ALIASED = View("aliased", "shelf", load, params=Aliased)
FOUND = View("found", "shelf", load, params=Query)
anything = st.one_of(
    st.text(max_size=80),
    st.sampled_from(["42", "042", "+42", "4 2", "42\n", "42\0", "４２", "42:hard", "{42}", "42}:stamp:hard"]),  # noqa: RUF001 - look-alikes
    st.integers(),
    st.floats(),
    st.booleans(),
    st.none(),
    st.binary(max_size=20),
)


@given(anything)
def test_an_id_is_canonical_or_refused(scope_id: object) -> None:
    for kind, form in ((NUMBERED, r"0|[1-9][0-9]{0,18}"), (NAMED, r"[A-Za-z0-9._-]{1,64}")):
        try:
            scope = kind.scope(scope_id)
        except UnknownScope:
            continue
        assert re.fullmatch(form, scope.id, re.ASCII)
        assert scope.id == str(scope_id)


@pytest.mark.parametrize("scope_id", ["9" * 100_000, "A" * 100_000, -1, 2**63, "", " "])
def test_ids_out_of_range_are_refused_in_few_words(scope_id: object) -> None:
    with pytest.raises(UnknownScope) as refused:
        NUMBERED.scope(scope_id)
    assert len(str(refused.value)) < 200


scopes = st.builds(
    Scope, st.sampled_from(["order", "shelf"]), st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True)
)
queries = st.builds(Query, text=st.text(max_size=200), limit=st.integers(-5, 5))


@given(scopes, scopes, queries, queries)
def test_two_requests_share_a_key_only_if_they_are_the_same(
    one: Scope, other: Scope, first: Query, second: Query
) -> None:
    space = KeySpace("stoker", "abc")
    left, right = FOUND.key(one, first), FOUND.key(other, second)
    names, others = space.entry(left), space.entry(right)
    same = (one, first) == (other, second)
    assert (names.entry == others.entry) is same
    assert (names.check == others.check) is same
    assert (names.stamp == others.stamp) is (one == other)
    keys = {names.entry, names.lease, names.stamp, names.hard}
    assert len(keys) == 4
    assert all(SAFE.fullmatch(key.encode()) and len(key) < 300 for key in keys)


@given(queries)
def test_parameters_are_canonical_whatever_their_order_or_omission(query: Query) -> None:
    scope = NAMED.scope("a")
    assert FOUND.key(scope, query) == FOUND.key(scope, {"limit": query.limit, "text": query.text})
    assert FOUND.key(scope) == FOUND.key(scope, {}) == FOUND.key(scope, Query())


def test_a_hundred_kilobytes_of_query_make_a_short_key() -> None:
    names = KeySpace("stoker", "abc").entry(FOUND.key(NAMED.scope("a"), {"text": "x\0{}:*" * 20_000}))
    assert len(names.entry) < 100


def test_wrong_parameters_name_their_field() -> None:
    with pytest.raises(InvalidParams) as refused:
        FOUND.key(NAMED.scope("a"), {"limit": "many"})
    assert refused.value.field == "limit"


def test_a_parameter_that_the_view_does_not_have_is_refused() -> None:
    # Query says nothing of other names: pydantic alone would leave them out.
    with pytest.raises(InvalidParams) as refused:
        FOUND.key(NAMED.scope("a"), {"limt": 5})
    assert refused.value.field == "limt"


def test_a_key_of_a_release_with_more_parameters_is_not_taken() -> None:
    public = View("found", "shelf", load, params=Query, access=Access.ANYONE)
    domain = Domain(name="d", scopes=(NAMED,), views=(public,), rules=())
    known = FOUND.key(NAMED.scope("a"))
    assert domain.takes(known)
    assert not domain.takes(known._replace(params=f'{known.params[:-1]},"newer":1}}'))


def test_aliases_and_computed_fields_survive_in_a_key() -> None:
    key = ALIASED.key(NAMED.scope("a"), {"q": "x"})
    assert key.params == '{"text":"x"}'
    assert ALIASED.params_of(key).text == "x"


@given(scopes, queries)
def test_a_key_survives_being_remembered(scope: Scope, query: Query) -> None:
    key = FOUND.key(scope, query)
    assert parse_key(write_key(key)) == key


@pytest.mark.parametrize(
    "member", [b"", b"{}", b"[1]", b'["a"]', b"\xff\xfe", b"null", b'"abc"', b"[1,2,3,4]"]
)
def test_a_foreign_member_is_not_a_key(member: bytes) -> None:
    assert parse_key(member) is None


def test_views_of_two_versions_keep_separate_entries_under_one_stamp() -> None:
    space = KeySpace("stoker", "abc")
    key = FOUND.key(NAMED.scope("a"))
    old, new = space.entry(key, 1), space.entry(key, 2)
    assert old.entry != new.entry
    assert old.check != new.check
    assert (old.stamp, old.hard) == (new.stamp, new.hard)


def test_names_that_would_meet_stoker_own_keys_are_refused() -> None:
    for name in ("hard", "stamp", "lease", "a:b", "A", "", "x" * 40):
        with pytest.raises(Exception, match="name"):
            Domain(name="d", scopes=(NAMED,), views=(View(name, "shelf", load),), rules=())
