"""Lookups: one MGET for many entries, no key twice, every value in the place that its entry reads."""

from __future__ import annotations

from collections.abc import Sequence

import hiredis
from hypothesis import given
from hypothesis import strategies as st

from stoker import EntryKey, Scope
from stoker.cache.envelope import STAMP_BYTES, Envelope, etag_of
from stoker.cache.keys import EntryNames, KeySpace
from stoker.cache.lookup import command
from stoker.cache.near import Near
from stoker.cache.reading import Content

KEYS = KeySpace("stoker", "unit")
STAMP = b"s" * STAMP_BYTES
ENVELOPE = Envelope(0, 1, 1, 1, 1, etag_of(b"{}"), b"k" * 8, STAMP, STAMP, 2, b"{}")
KEPT = Near(ENVELOPE, Content.stored(ENVELOPE))


def names(view: str, number: int) -> EntryNames:
    return KEYS.entry(EntryKey(view, Scope("note", str(number))))


def asked(packed: bytes) -> list[str]:
    reader = hiredis.Reader()
    reader.feed(packed)
    verb, *keys = reader.gets()
    assert verb == b"MGET"
    return [key.decode() for key in keys]


def test_an_entry_and_its_access_share_a_hard_stamp_that_is_asked_for_once() -> None:
    page, access = names("detail", 1), names("access", 1)
    packed, _ = command((page, access), (True, True))
    assert asked(packed) == [*(page.stamp, page.hard, page.entry), *(access.stamp, access.entry)]
    packed, _ = command((page, access), (False, False))
    assert asked(packed) == [page.stamp, page.hard, access.stamp]


@given(
    st.lists(
        st.tuples(st.sampled_from(["detail", "access", "list"]), st.integers(1, 3), st.booleans()),
        max_size=9,
    )
)
def test_every_value_is_where_its_entry_reads_it(wanted: Sequence[tuple[str, int, bool]]) -> None:
    entries = tuple(names(view, number) for view, number, _ in wanted)
    far = tuple(far for *_, far in wanted)
    packed, places = command(entries, far)
    keys = asked(packed)
    assert len(keys) == len(set(keys))
    for one, whole, (stamp, hard, entry) in zip(entries, far, places, strict=True):
        assert (keys[stamp], keys[hard]) == (one.stamp, one.hard)
        assert not whole or keys[entry] == one.entry


def test_the_command_of_a_request_is_packed_once() -> None:
    entries = (names("detail", 1), names("access", 1))
    assert command(entries, (True, False)) is command(entries, (True, False))
