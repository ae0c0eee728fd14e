"""Guards whose absence the explorer must find, and the case in which it shows.

Most are guards of tests/races/guards, taken away in the same way. The others are about code for which the
explorer has stepped code of its own, or are narrower than those of any race.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from stoker import EntryKey, Event, View
from stoker.cache.fill import BuiltBy, Filler
from stoker.cache.keys import EntryNames
from stoker.cache.lookup import Lookup
from stoker.cache.near import Near
from stoker.cache.reading import Found
from stoker.cache.store import STORE, Store
from stoker.cache.view import Bodies
from stoker.handlers import relay
from stoker.jobs import Outcome
from stoker.outbox.term import CacheTerm
from stoker.stoker import Stoker
from tests.explore.domain import State as RowState
from tests.explore.rows import Outbox, Rows, Snapshot, SteppedLoads
from tests.explore.terms import BEGAN_S, SteppedTerm, Time, sleep
from tests.explore.valkey import Reached, Server
from tests.races.guards import GUARDS as OF_RACES
from tests.races.guards.away import Removal, replaced, script
from tests.races.guards.filling import load_then_stamp
from tests.races.guards.terms import known_before


class Guard(NamedTuple):
    """How to take a guard away, and the case in which its absence shows."""

    remove: Removal
    case: str


async def _load_many_then_stamp(
    self: Filler, keys: Sequence[EntryKey], _by: BuiltBy = BuiltBy.WARMING
) -> dict[EntryKey, Outcome]:
    return {key: (await load_then_stamp(self, key)).outcome for key in keys}


async def _joins_an_open_load(self: SteppedLoads, view: View, key: EntryKey) -> Any:  # noqa: ANN401
    waiting = self._waiting.get(key)
    if waiting is None:
        waiting = self._waiting[key] = self._detached.start(self.load(view, [key]))
        waiting.add_done_callback(lambda _: self._waiting.pop(key))
    return await asyncio.shield(waiting)


async def _one_session(self: SteppedLoads, view: View, keys: Sequence[EntryKey]) -> Bodies:
    """The request's own session: its snapshot is older than the stamps."""
    opened = self.__dict__.setdefault("opened", await Snapshot(self._rows).snapshot(keys))

    class Old(Snapshot):
        async def snapshot(self, keys: Sequence[EntryKey]) -> RowState:
            return opened  # type: ignore[no-any-return]

    return view.bodies(keys, await view.load(Old(self._rows), keys))  # type: ignore[arg-type]


async def _settles_first(stoker: Stoker) -> int:
    async with stoker.engine.begin() as connection:
        claimed = await Outbox.claim(connection, stoker.settings.changes, ())  # type: ignore[arg-type]
        folded = await relay.fold(connection, stoker.domain, claimed)
        ids = [one for same in claimed for one in same.ids]
        await Outbox.settle(connection, ids)  # type: ignore[arg-type]
    await relay.unlink(stoker, folded.invalidations)
    return len(ids)


_commit = Rows.commit


async def _event_first(
    self: Rows, change: Callable[[RowState], RowState] | None, event: Event | None, touched: str
) -> None:
    await _commit(self, None, event, touched)
    await _commit(self, change, None, touched)


async def _only_outdated_again(self: Lookup, names: tuple[EntryNames, ...], **_options: bool) -> list[Found]:
    kept = [self.near.get(own.entry) for own in names]
    found = await self._read(names, kept)
    outdated = [at for at, near in enumerate(kept) if near and found[at].miss is not None]
    for at in outdated:
        self.near.drop(names[at].entry)
    again = await self.peek(names[at] for at in outdated)
    for at, one in zip(outdated, again, strict=True):
        found[at] = one
    for own, near, one in zip(names, kept, found, strict=True):
        if near is None and one.miss is None and one.envelope and one.content:
            self.near.put(own.entry, Near(one.envelope, one.content))
    return found


def _asked_once(self: Server, process: str) -> Reached:
    """The old primary for ever."""
    return self._old if process == self._behind else Reached(self.values, self.run, self.run_number)


def _wall_clock(patch: pytest.MonkeyPatch) -> None:
    def clock(self: Time, rate: float) -> Callable[[], float]:
        return lambda: BEGAN_S + self.real_s * rate - self.back_s

    patch.setattr(Time, "clock", clock)


def _waits_from_the_request(patch: pytest.MonkeyPatch) -> None:
    """The wait of whoever unlinks begins before the unlink has happened."""
    unlink = Store.unlink
    began_s: list[float] = []

    async def noting(self: Store, stamps: Iterable[str]) -> set[bytes]:
        began_s.append(self.lookup.terms.now_s())
        return await unlink(self, stamps)

    async def over(self: CacheTerm, connection: AsyncConnection | None = None) -> None:
        until_s = began_s[-1] + await self._longest_ms(connection) / 1000
        while (left_s := until_s - self._terms.now_s()) > 0:
            await sleep(left_s)

    patch.setattr(Store, "unlink", noting)
    patch.setattr(CacheTerm, "over", over)


SHARED: Mapping[str, str] = {
    "stamps compared by the store": "two readers, a writer",
    "stamps compared by the read": "two readers of a warm page, a writer",
    "a missing stamp being a miss": "two readers of a warm page, a writer",
    "the hard stamp": "soft then hard, loaders fail",
    "the run compared by the read": "the server comes back old",
    "the run compared when stamps are taken": "the server comes back old",
    "the time in the stamp": "the stamps' reply is lost",
    "the lease naming its stamp": "two readers after a build was abandoned",
    "the stamp before the load": "two readers, a writer",
    "flights joined only under one's own stamp": "two readers in one process, a writer",
    "stamps read before a near entry is served": "two readers of a warm page, a writer",
    "errors of unlinks raised": "the server is away",
    "the audience of the moment": "an audience grows",
    "access checked on every read": "a removal",
    "access checked after a wait": "a removal, then a secret that is read",
    "access checked after SQL": "a removal, then a secret, past the cache",
    "the parent of an entry compared": "a note is moved",
    "entry and right looked up again after a wait": "a right to a folder is removed, then a secret",
    "the wait for a term": "a term, a writer",
    "the bound of a term": "a term, a writer",
    "the share of a term that is served": "a term, a writer",
    "a term counted from the question": "a term, late replies",
    "the installation's term": "a term that is shorter than a reader's own",
    "the wait kept after the term was lowered": "a term is lowered",
    "a term known for some seconds only": "a term was lowered, and a reader has not heard",
}
"""Guards of races -> case."""

OWN: Mapping[str, Guard] = {
    "the hard stamp compared by the store": Guard(
        script(STORE, " or redis.call('GET', KEYS[2]) ~= ARGV[2]", ""),
        "a hard stamp is evicted under a build",
    ),
    "the stamp before the load, warming": Guard(
        replaced(Filler, "fill_many", _load_many_then_stamp), "a warm job, a reader, a writer"
    ),
    "a fresh transaction": Guard(
        replaced(SteppedLoads, "_in_snapshot", _one_session), "a cold reader who reads again, a writer"
    ),
    "no load joined that has begun": Guard(
        replaced(SteppedLoads, "load_without_stamp", _joins_an_open_load), "the server's memory is full"
    ),
    "settling last": Guard(
        replaced(relay, "apply_all", _settles_first), "two readers of a warm page, a writer"
    ),
    "events in the writer's transaction": Guard(
        replaced(Rows, "commit", _event_first), "a sweeper at any time"
    ),
    "the wait learned after the unlink": Guard(
        replaced(SteppedTerm, "_longest_ms", known_before), "a term is raised"
    ),
    "a clock that nobody sets": Guard(_wall_clock, "a term, a clock that is set back"),
    "the wait counted from the acknowledgement": Guard(_waits_from_the_request, "a term, a writer"),
    "the wait of a change put into effect inline": Guard(
        OF_RACES["the wait for a term"], "a term, a change put into effect inline"
    ),
    "the wait for a term that another question renews": Guard(
        OF_RACES["the wait for a term"], "a term that another question renews"
    ),
    "entry looked up again after a wait for the right": Guard(
        OF_RACES["entry and right looked up again after a wait"],
        "a secret is replaced, then a reader let in, warm",
    ),
    "the wait for a removed right": Guard(OF_RACES["the wait for a term"], "a term, a removal"),
    "the wait of whoever finishes for a killed relay": Guard(
        OF_RACES["the wait for a term"], "a term, a relay is killed"
    ),
    "the wait for a moved note": Guard(OF_RACES["the wait for a term"], "a term, a note is moved"),
    "the wait for a right to a folder": Guard(
        OF_RACES["the wait for a term"], "a term, a right to a folder is removed"
    ),
    "a primary that is asked again whether it is one": Guard(
        replaced(Server, "reached", _asked_once), "a term, the old primary still answers"
    ),
    "the bound of a term that the old primary began": Guard(
        OF_RACES["the bound of a term"], "a term, the old primary still answers"
    ),
    "access read with what it guards": Guard(
        replaced(Lookup, "fetch", _only_outdated_again), "a removal, then a secret that is read"
    ),
}

GUARDS: Mapping[str, Guard] = {**{name: Guard(OF_RACES[name], case) for name, case in SHARED.items()}, **OWN}
