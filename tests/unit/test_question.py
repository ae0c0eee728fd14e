"""Questions: one MGET for many entries, no key twice, every value where its entry looks for it."""

from __future__ import annotations

from collections.abc import Sequence

import hiredis
from hypothesis import given
from hypothesis import strategies as st

from stoker import EntryKey, Scope
from stoker.cache.envelope import STAMP_BYTES, Envelope, etag_of
from stoker.cache.keys import EntryNames, KeySpace
from stoker.cache.near import Near
from stoker.cache.question import Command, Question
from stoker.cache.reading import Content

KEYS = KeySpace("stoker", "unit")
STAMP = b"s" * STAMP_BYTES
ENVELOPE = Envelope(0, 1, 1, 1, 1, etag_of(b"{}"), b"k" * 8, STAMP, STAMP, 2, b"{}")
KEPT = Near(ENVELOPE, Content.stored(ENVELOPE))


def names(view: str, number: int) -> EntryNames:
    return KEYS.entry(EntryKey(view, Scope("note", str(number))))


def asked(command: Command) -> list[str]:
    reader = hiredis.Reader()
    reader.feed(command.packed)
    verb, *keys = reader.gets()
    assert verb == b"MGET"
    return [key.decode() for key in keys]


def test_an_entry_and_its_access_share_a_hard_stamp_that_is_asked_for_once() -> None:
    page, access = names("detail", 1), names("access", 1)
    question = Question([page, access])
    assert asked(question.command([None, None])) == [
        *(page.stamp, page.hard, page.entry),
        *(access.stamp, access.entry),
    ]
    assert asked(question.command([KEPT, KEPT])) == [page.stamp, page.hard, access.stamp]


@given(
    st.lists(
        st.tuples(st.sampled_from(["detail", "access", "list"]), st.integers(1, 3), st.booleans()),
        max_size=9,
    )
)
def test_every_value_is_where_its_entry_looks_for_it(wanted: Sequence[tuple[str, int, bool]]) -> None:
    entries = [names(view, number) for view, number, _ in wanted]
    kept = [KEPT if near else None for *_, near in wanted]
    command = Question(entries).command(kept)
    keys = asked(command)
    assert len(keys) == len(set(keys))
    for one, near, (stamp, hard, entry) in zip(entries, kept, command.places, strict=True):
        assert (keys[stamp], keys[hard]) == (one.stamp, one.hard)
        assert near is not None or keys[entry] == one.entry


def test_a_command_is_packed_once() -> None:
    question = Question([names("detail", 1), names("access", 1)])
    assert question.command([None, KEPT]) is question.command([None, KEPT])
