"""Guards of terms: what may be served without asking, until when, and how long whoever applies waits."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from math import inf

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

import stoker.cache.near
import stoker.outbox.term
from stoker.cache.lookup import Plan
from stoker.cache.near import Served, Terms
from stoker.cache.reading import Found
from stoker.cache.term import SERVED, SURE_S
from stoker.outbox.term import CacheTerm
from tests.races.guards.away import Patch, Removal, replaced


class Wall:
    """A wall clock that a test sets back."""

    back_s = 0.0

    def now_s(self) -> float:
        return time.time() - self.back_s


WALL = Wall()
SHORTENED_AT_ONCE = text(
    "UPDATE stoker.cache_term SET term_ms = :term_ms, longest_ms = :term_ms, changes = changes + 1"
    " WHERE term_ms <> :term_ms"
)


def _wall_clock(patch: Patch) -> None:
    patch.setattr(WALL, "back_s", 0.0)
    patch.setattr(stoker.cache.near, "now_s", WALL.now_s)


def _unbounded(patch: Patch) -> None:
    grant = Terms.grant

    def for_ever(self: Terms[Plan], plan: Plan, found: Sequence[Found], asked_s: float) -> None:
        grant(self, plan, found, asked_s)
        if plan.served is not None:
            plan.served = plan.served._replace(until_s=inf)

    patch.setattr(Terms, "grant", for_ever)


def _counted_from_the_reply(patch: Patch) -> None:
    grant = Terms.grant

    def late(self: Terms[Plan], plan: Plan, found: Sequence[Found], _asked_s: float) -> None:
        grant(self, plan, found, self.now_s())

    patch.setattr(Terms, "grant", late)


def _clock_read_first(self: Terms[Plan], plan: Plan) -> Served | None:
    now_s = self.now_s()
    served = plan.served
    return served if served is not None and now_s < served.until_s else None


async def _at_once(*_: object) -> None:
    """Applied as soon as it is unlinked."""


async def _own_term(self: CacheTerm) -> None:
    asked_s = self._terms.now_s()
    await self._row()
    self._terms.use(self._own_ms / 1000, asked_s + 8)


async def _known_since_the_reply(self: CacheTerm) -> None:
    row = await self._row()
    self._terms.use(row.term_ms / 1000, self._terms.now_s() + SURE_S * SERVED)


def _granted_after_the_end(patch: Patch) -> None:
    grant = Terms.grant

    def granted(self: Terms[Plan], plan: Plan, found: Sequence[Found], asked_s: float) -> None:
        since_s, self._since_s = self._since_s, -inf
        grant(self, plan, found, asked_s)
        self._since_s = since_s

    patch.setattr(Terms, "grant", granted)


async def known_before(self: CacheTerm, _connection: AsyncConnection | None) -> int:
    return self._seen.longest_ms if self._seen is not None else 0


async def _joined(self: CacheTerm) -> int:
    """Share the question that is under way, too."""
    under_way = self._asked
    async with self._one_asks:
        if self._answered < max(1, under_way):
            self._asked += 1
            self._answer_ms = await self._longest_ms(None)
            self._answered = self._asked
        return self._answer_ms


def _sure_for_ever(patch: Patch) -> None:
    use = Terms.use

    def used(self: Terms[Plan], term_s: float, _sure_until_s: float) -> None:
        use(self, term_s, inf)

    patch.setattr(Terms, "use", used)


def _renewed_are_forgotten(patch: Patch) -> None:
    ending = Terms.ending

    def forgotten(self: Terms[Plan]) -> list[Plan]:
        found = ending(self)
        self._granted.clear()
        return found

    patch.setattr(Terms, "ending", forgotten)


GUARDS: Mapping[str, Removal] = {
    "the wait for a term": replaced(CacheTerm, "over", _at_once),
    "the bound of a term": _unbounded,
    "the share of a term that is served": replaced(stoker.cache.near, "SERVED", 1.0),
    "a clock that is read after what is served is fixed": replaced(Terms, "of", _clock_read_first),
    "a term counted from the question": _counted_from_the_reply,
    "a clock that nobody sets": _wall_clock,
    "a clock that goes on in a stopped process": replaced(stoker.cache.near, "now_s", time.process_time),
    "a clock that goes on in a suspend": replaced(stoker.cache.near, "now_s", time.monotonic),
    "the installation's term": replaced(CacheTerm, "learn", _own_term),
    "the wait learned after the unlink": replaced(CacheTerm, "_longest_ms", known_before),
    "the wait learned by a question that begins after the unlink": replaced(
        CacheTerm, "_longest_now", _joined
    ),
    "a term known for some seconds only": _sure_for_ever,
    "a term known since the question for it": replaced(CacheTerm, "learn", _known_since_the_reply),
    "the wait kept after the term was lowered": replaced(stoker.outbox.term, "SET", SHORTENED_AT_ONCE),
    "terms that are being renewed": _renewed_are_forgotten,
    "no term by a question from before its end": _granted_after_the_end,
    "terms ending with the breaker": replaced(Terms, "end", lambda _: None),
}
