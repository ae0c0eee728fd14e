"""Every interleaving of a small program, up to steps that commute: stateless search with replay.

Knows nothing of caches. Source sets (Abdulla, Aronis, Jonsson, Sagonas, POPL 2014) find where two steps that
do not commute could have come in the other order; sleep sets (Godefroid, LNCS 1032) drop what another branch
has covered. A run is executed again from its beginning for every order.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

Thread = tuple[str | int, ...]
"""Who does a step: stable over every order in which the steps of others may come."""
Footprint = Mapping[str, str]
"""What a step touches: resource -> `r` read, `w` write, `d` delete, `a` add.

What it does must follow from what it reads or writes. Whether a write is only a read may be known once it is
done, and must follow from the same; a delete and an add are always one.
"""


class Violation(AssertionError):
    """A promise was broken in the run that raised it."""


class Run(Protocol):
    """One execution, a step at a time."""

    def pending(self) -> dict[Thread, Footprint]:
        """The step that each thread would do next; the same object for as long as it is the same step."""

    def step(self, thread: Thread) -> Footprint:
        """Do the thread's next step; what it did touch, which may be less than it might have.

        Raises Violation.
        """

    def finish(self) -> None:
        """Check what is left when nobody has anything to do; raises Violation."""

    def abandon(self) -> None:
        """Clean up, wherever the run stands."""


@dataclass
class Found:
    """What a search came to. `pruned`: choices not followed because a commuting order was."""

    explored: int = 0
    pruned: int = 0
    longest: int = 0
    exhausted: bool = False
    violation: Violation | None = None


@dataclass
class Node:
    """A state on the current path, before its step."""

    pending: dict[Thread, Footprint]
    before: dict[Thread, int]
    """Bit set of the earlier steps that happen before each pending step."""
    sleep: dict[Thread, Footprint]
    """Whose step another branch has done already, and what that touched."""
    wanted: set[Thread] = field(default_factory=set)
    done: dict[Thread, Footprint] = field(default_factory=dict)
    """Whose step was tried here, and what it touched."""
    chosen: Thread = ()
    happened: int = 0
    """Bit set of the steps that happen before the chosen one, itself included."""

    @property
    def touched(self) -> Footprint:
        """What the chosen step touched."""
        return self.done[self.chosen]


def clash(one: Footprint, other: Footprint) -> bool:
    """Whether two steps may not commute. Reads commute with reads, deletes with deletes, adds with adds."""
    if len(one) > len(other):
        one, other = other, one
    for resource, mode in one.items():
        others = other.get(resource)
        if others is not None and (mode != others or mode == "w"):
            return True
    return False


class Search:
    """Depth first over the orders of one program."""

    def __init__(self, start: Callable[[], Run], *, reduce: bool = True, seed: int | None = None) -> None:
        self._start = start
        self._reduce = reduce
        self._random = random.Random(seed) if seed is not None else None
        self._path: list[Node] = []
        self.found = Found()

    def go(self, enough: Callable[[Found], bool]) -> Found:
        """Search on until every order is covered, a promise is broken, or it is `enough`."""
        found = self.found
        while not found.exhausted and found.violation is None and not enough(found):
            run = self._start()
            try:
                self._one(run)
            except Violation as violation:
                found.violation = violation
            finally:
                run.abandon()
            found.exhausted = found.violation is None and not self._turn()
        return found

    def _one(self, run: Run) -> None:
        """Replay the path, then follow it to its end."""
        for node in self._path[:-1]:
            run.step(node.chosen)
        if self._path:
            self._advance(run)
        else:
            self._enter(run.pending(), {}, {})
        while self._path[-1].pending:
            if not self._choose():
                self.found.pruned += 1  # all that could come next is covered by other branches
                return
            self._advance(run)
        self._path.pop()
        self.found.explored += 1
        self.found.longest = max(self.found.longest, len(self._path))
        run.finish()

    def _advance(self, run: Run) -> None:
        """Do the chosen step of the last node and record the state after it."""
        node, index = self._path[-1], len(self._path) - 1
        before = run.pending()
        mine = run.step(node.chosen)
        after = run.pending()
        happened = node.before[node.chosen] | 1 << index
        for earlier in self._path[:-1]:
            if clash(earlier.touched, mine):
                happened |= earlier.happened
        node.happened = happened
        hence = {
            thread: node.before[thread]
            if footprint is before.get(thread)
            else happened | self._last_of(thread)
            for thread, footprint in after.items()
        }
        asleep = {
            thread: touched
            for thread, touched in (node.sleep | node.done).items()
            if after.get(thread) is not None
            and after[thread] is before.get(thread)
            and not clash(touched, mine)
        }
        node.done[node.chosen] = mine
        if self._reduce:
            self._find_races(index)
            # Whom this step has ended might have gone first.
            node.wanted |= before.keys() - after.keys() - {node.chosen}
        self._enter(after, hence, asleep if self._reduce else {})

    def _enter(
        self, pending: dict[Thread, Footprint], before: dict[Thread, int], sleep: dict[Thread, Footprint]
    ) -> None:
        node = Node(pending, before or dict.fromkeys(pending, 0), sleep)
        if not self._reduce:
            node.wanted = set(pending)
        self._path.append(node)

    def _last_of(self, thread: Thread) -> int:
        for node in reversed(self._path):
            if node.chosen == thread:
                return node.happened
        return 0

    def _find_races(self, index: int) -> None:
        """Wherever the last step could have come before one that it clashes with, that order is wanted."""
        node = self._path[index]
        ordered = node.before[node.chosen]  # steps that come before it in any case
        for at in range(index - 1, -1, -1):
            earlier = self._path[at]
            if not ordered >> at & 1 and clash(earlier.touched, node.touched):
                ordered |= earlier.happened
                initials = self._initials(at, index)
                if not initials & (earlier.wanted | earlier.sleep.keys()):
                    earlier.wanted.add(min(initials, key=str))

    def _initials(self, at: int, index: int) -> set[Thread]:
        """Who may go first at a state so that the step `index` comes before the step `at`."""
        later = [k for k in range(at + 1, index) if not self._path[k].happened >> at & 1]
        later.append(index)
        among = sum(1 << k for k in later)
        return {self._path[k].chosen for k in later if self._path[k].happened & among == 1 << k}

    def _choose(self) -> bool:
        """Choose the first step of a new node: the same thread goes on, so that traces are easy to read."""
        node = self._path[-1]
        free = [thread for thread in node.pending if thread not in node.sleep]
        if not free:
            self.found.pruned += len(node.pending) - 1
            self._path.pop()
            return False
        last = self._path[-2].chosen if len(self._path) > 1 else ()
        node.chosen = last if last in free else self._pick(free)
        node.wanted.add(node.chosen)
        return True

    def _turn(self) -> bool:
        """Go back to the last state from which another order is wanted."""
        while self._path:
            node = self._path[-1]
            left = node.wanted - node.done.keys() - node.sleep.keys()
            if left:
                node.chosen = self._pick([thread for thread in node.pending if thread in left])
                return True
            self.found.pruned += len(node.pending) - len(node.done)
            self._path.pop()
        return False

    def _pick(self, threads: list[Thread]) -> Thread:
        return self._random.choice(threads) if self._random else threads[0]
