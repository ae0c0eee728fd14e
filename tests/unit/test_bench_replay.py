"""The replay against the earlier layer: one trace for both sides, a judge that accuses nobody wrongly."""

from __future__ import annotations

import pytest

from bench.replay.judge import Tally, Truth
from bench.replay.trace import AFTER_S, BEFORE_S, Edit, Read, Team, Write, record

OWNER, MEMBER, STRANGER = 1, 2, 3
BY_CONTENTS = frozenset({"dashboard", "export"})
BY_ALL = frozenset({"detail", "dashboard", "list"})


def teams() -> dict[int, Team]:
    return {
        number: Team(number % 10 + 1, sorted({number % 10 + 1, number % 70 + 20, number % 50 + 100}), number)
        for number in range(100, 150)
    }


def truth() -> Truth:
    return Truth({7: Team(OWNER, [OWNER, MEMBER], 70), 8: Team(OWNER, [OWNER], 80)})


def test_a_trace_follows_from_its_seed() -> None:
    first = record(teams(), 1, 20, 50)
    assert first == record(teams(), 1, 20, 50)
    assert first != record(teams(), 2, 20, 50)


def test_a_trace_has_about_one_write_to_twenty_reads() -> None:
    acts = [act for _, act in record(teams(), 1, 400, 50)]
    writes = sum(isinstance(act, Write) for act in acts)
    assert 18 < (len(acts) - writes) / writes < 22


def test_every_write_has_readers_around_it() -> None:
    acts = record(teams(), 1, 20, 50)
    for at, write in acts:
        if isinstance(write, Write):
            near = [
                act for when, act in acts if at - BEFORE_S <= when <= at + AFTER_S and isinstance(act, Read)
            ]
            assert len(near) >= 3


def test_who_was_removed_never_comes_back() -> None:
    removed: set[tuple[int, int]] = set()
    for _, act in record(teams(), 1, 400, 50):
        if isinstance(act, Write) and act.edit is Edit.REMOVE_MEMBER:
            removed.add((act.project, act.user))
        elif isinstance(act, Write) and act.edit is Edit.ADD_MEMBER:
            assert (act.project, act.user) not in removed
    assert removed


def test_a_read_must_show_what_was_in_effect_when_it_began_and_no_more() -> None:
    known = truth()
    write = Write(Edit.PREDICATE, 7, OWNER, 70)
    before = known.least(Read("dashboard", MEMBER, 7))
    known.begun(write)
    known.done(write, 50, BY_CONTENTS)
    after = known.least(Read("dashboard", MEMBER, 7))
    assert not before.stale("dashboard", {"revision": 49})
    assert after.stale("dashboard", {"revision": 49})
    assert not after.stale("dashboard", {"revision": 50})
    assert not known.least(Read("detail", MEMBER, 7)).stale("detail", {"revision": 1})


def test_an_item_of_a_list_is_judged_by_its_own_number() -> None:
    known = truth()
    known.done(Write(Edit.PROJECT, 7, OWNER), 50, BY_ALL)
    least = known.least(Read("list", MEMBER))
    assert least.stale("list", {"items": [{"id": 8, "revision": 1}, {"id": 7, "revision": 49}]})
    assert not least.stale("list", {"items": [{"id": 8, "revision": 1}, {"id": 7, "revision": 50}]})
    assert not least.stale("list", {"items": []})  # a page may show other projects


@pytest.mark.parametrize(("reader", "forbidden"), [(OWNER, False), (MEMBER, False), (STRANGER, True)])
def test_a_stranger_must_be_refused(reader: int, forbidden: bool) -> None:  # noqa: FBT001 - a table of cases
    assert truth().least(Read("detail", reader, 7)).forbidden is forbidden


def test_a_member_must_be_refused_only_when_the_removal_is_done() -> None:
    known = truth()
    removal = Write(Edit.REMOVE_MEMBER, 7, OWNER, user=MEMBER)
    known.begun(removal)
    assert not known.least(Read("detail", MEMBER, 7)).forbidden
    known.done(removal, 60, ())
    assert known.least(Read("detail", MEMBER, 7)).forbidden
    gone = {"items": [{"id": 7, "revision": 1}]}
    assert known.least(Read("list", MEMBER)).stale("list", gone)


def test_somebody_who_is_about_to_join_may_be_let_in_or_not() -> None:
    known = truth()
    known.begun(Write(Edit.ADD_MEMBER, 7, OWNER, user=STRANGER))
    assert not known.least(Read("detail", STRANGER, 7)).forbidden


def test_the_hit_rate_is_that_of_the_reads_that_were_served() -> None:
    tally = Tally()
    tally.served(Read("detail", OWNER, 7), 1.0, hit=True)
    tally.served(Read("detail", OWNER, 7), 1.0, hit=True)
    tally.served(Read("list", OWNER), 1.0, hit=False)
    assert tally.hit_percent("detail") == 100
    assert tally.hit_percent("list") == 0
    assert tally.hit_percent() == pytest.approx(66.7, abs=0.1)
