"""No order of steps breaks a promise; and without any one guard, some order does.

Cases, promises and guards: tests/explore/cases.py, promises.py and guards.py. Longer runs:
`python -m tests.explore --seconds 600`.
"""

from __future__ import annotations

import pytest

from tests.explore.cases import BY_NAME, CASES
from tests.explore.ground import Case
from tests.explore.guards import GUARDS
from tests.explore.once import Once
from tests.explore.report import explore
from tests.explore.valkey import Server

AT_LEAST = 10_000
"""Interleavings in a test run."""
PATIENCE = 3_000
"""Interleavings within which a missing guard must show."""
SMALL = ("a reader who reads again, a writer", "a removal", "a sweeper at any time")
QUICK = (
    *SMALL,
    "the server comes back old",
    "a relay is killed",
    "a note is deleted",
    "a removal, then a secret",
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_no_order_breaks_a_promise(case: Case, server: Server, once: Once) -> None:
    one = once.explored(case, server)
    assert one.found.violation is None, str(one)
    assert one.found.exhausted or one.found.explored == case.at_most


def test_ten_thousand_orders_are_explored(server: Server, once: Once) -> None:
    assert sum(once.explored(case, server).found.explored for case in CASES) >= AT_LEAST


@pytest.mark.parametrize("name", GUARDS)
def test_a_missing_guard_is_found(name: str, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row by row: the guard is the one named; the trace of the order that shows it is printed."""
    guard = GUARDS[name]
    guard.remove(monkeypatch)
    one = explore(BY_NAME[guard.case], server, at_most=PATIENCE)
    print(one)  # noqa: T201 - shown by `pytest -rP`
    assert one.found.violation is not None, f"nobody misses: {name}"
    assert one.trace


@pytest.mark.long
@pytest.mark.parametrize("name", SMALL)
def test_pruning_loses_no_outcome(name: str, server: Server) -> None:
    """In cases small enough to try every order: what is shown and kept in one is so in a pruned one too."""
    pruned, every = (explore(BY_NAME[name], server, reduce=reduce) for reduce in (True, False))
    assert pruned.found.exhausted
    assert every.found.exhausted
    assert pruned.found.explored < every.found.explored
    assert pruned.outcomes == every.outcomes


@pytest.mark.long
@pytest.mark.parametrize("name", QUICK)
def test_every_search_comes_to_as_many_orders(name: str, server: Server) -> None:
    """Each order once, up to steps that commute: in whatever sequence they are searched."""
    searched = [explore(BY_NAME[name], server, seed=seed) for seed in (None, 1, 2)]
    assert all(one.found.exhausted for one in searched)
    assert len({one.found.explored for one in searched}) == 1, [str(one) for one in searched]
    assert len({one.outcomes for one in searched}) == 1
