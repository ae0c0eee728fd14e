"""The search itself: what it leaves out never makes a difference."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import partial
from itertools import permutations

import pytest

from tests.explore.search import Footprint, Search, Thread, Violation

Step = tuple[str, str]
"""A resource, and `r`, `w`, or `c`: a write only where nobody has written yet, known when it is done."""


@dataclass
class Toy:
    """Threads that read and write a few cells; a read is remembered, a write says who wrote when."""

    program: tuple[tuple[Step, ...], ...]
    outcomes: set[str]
    broken: str = ""
    done: list[int] = field(default_factory=list)
    cells: dict[str, str] = field(default_factory=dict)
    seen: dict[int, list[str]] = field(default_factory=dict)
    _prints: dict[tuple[int, int], Footprint] = field(default_factory=dict)

    def pending(self) -> dict[Thread, Footprint]:
        ahead: dict[Thread, Footprint] = {}
        for number, steps in enumerate(self.program):
            at = self.done.count(number)
            if at < len(steps):
                cell, mode = steps[at]
                ahead[(number,)] = self._prints.setdefault((number, at), {cell: "w" if mode == "c" else mode})
        return ahead

    def step(self, thread: Thread) -> Footprint:
        number = int(thread[0])
        at = self.done.count(number)
        cell, mode = self.program[number][at]
        self.done.append(number)
        if mode == "w" or (mode == "c" and cell not in self.cells):
            self.cells[cell] = f"{number}.{at} after {self.cells.get(cell, '-')[:3]}"
            return {cell: "w"}
        self.seen.setdefault(number, []).append(self.cells.get(cell, "-"))
        return {cell: "r"}

    def finish(self) -> None:
        outcome = f"{sorted(self.cells.items())} {sorted(self.seen.items())}"
        self.outcomes.add(outcome)
        if outcome == self.broken:
            raise Violation(outcome)

    def abandon(self) -> None:
        """Nothing to clean."""


def run(program: tuple[tuple[Step, ...], ...], *, reduce: bool) -> tuple[set[str], int]:
    outcomes: set[str] = set()
    found = Search(lambda: Toy(program, outcomes), reduce=reduce).go(lambda _: False)
    assert found.exhausted
    return outcomes, found.explored


@pytest.mark.parametrize("seed", range(150))
def test_pruning_loses_no_outcome(seed: int) -> None:
    chance = random.Random(seed)
    program = tuple(
        tuple((chance.choice("abc"), chance.choice("rrwcc")) for _ in range(chance.randint(1, 3)))
        for _ in range(3)
    )
    every, all_orders = run(program, reduce=False)
    pruned, explored = run(program, reduce=True)
    assert pruned == every
    assert explored <= all_orders


def test_without_pruning_every_order_is_explored() -> None:
    program = ((("a", "r"), ("a", "r")), (("a", "r"), ("a", "r")), (("a", "r"),))
    orders = len(set(permutations([0, 0, 1, 1, 2])))
    assert run(program, reduce=False)[1] == orders
    assert run(program, reduce=True)[1] == 1, "reads commute"


def test_a_write_that_changes_nothing_commutes_with_what_reads() -> None:
    program = ((("a", "w"), ("a", "c"), ("a", "c")), (("b", "r"), ("b", "c"), ("a", "r")))
    every, _ = run(program, reduce=False)
    pruned, explored = run(program, reduce=True)
    assert pruned == every
    assert explored == 2, "the second thread reads before or after the one write"


def test_a_broken_promise_ends_the_search() -> None:
    program = ((("a", "w"),), (("a", "r"),))
    outcomes, _ = run(program, reduce=True)
    for broken in outcomes:
        found = Search(partial(Toy, program, set(), broken)).go(lambda _: False)
        assert str(found.violation) == broken
        assert not found.exhausted
