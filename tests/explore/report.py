"""Exploring a case and saying what it came to; used by the tests and by `python -m tests.explore`."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.explore.ground import Case, prepared
from tests.explore.play import Play
from tests.explore.search import Found, Search
from tests.explore.trace import Trace
from tests.explore.valkey import Server


@dataclass(frozen=True)
class Explored:
    """What exploring a case came to; `trace` of the run that broke a promise."""

    case: str
    found: Found
    seconds: float
    outcomes: frozenset[tuple[str, ...]]
    trace: str = ""

    def __str__(self) -> str:
        found = self.found
        figures = f"{found.explored:8} {found.pruned:8} {found.longest:7}"
        row = f"{self.case:55} {figures}  {'yes' if found.exhausted else 'no':9}  {self.seconds:7.1f}"
        return f"{row}\n  BROKEN: {found.violation}\n{self.trace}" if found.violation else row


def explore(
    case: Case,
    server: Server,
    *,
    at_most: int | None = None,
    seconds: float | None = None,
    seed: int | None = None,
    reduce: bool = True,
) -> Explored:
    """Explore a case until it is exhausted, a promise is broken, or the budget is used up."""
    began = time.monotonic()
    plays: list[Play] = []

    def enough(found: Found) -> bool:
        late = seconds is not None and time.monotonic() - began >= seconds
        return late or (at_most is not None and found.explored >= at_most)

    with _quiet(), prepared(case, server, f"x-{secrets.token_hex(4)}") as ground:

        def start() -> Play:
            plays[:] = [Play(ground)]
            return plays[0]

        if case.setup is not None:
            start().set_up(case.setup)
            plays[0].abandon()

        found = Search(start, reduce=reduce, seed=seed).go(enough)
        trace = "\n".join(Trace(server).lines(plays[0].stage.trace)) if found.violation else ""
    return Explored(case.name, found, time.monotonic() - began, frozenset(ground.outcomes), trace)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the log lines that each of thousands of outages would write."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)
