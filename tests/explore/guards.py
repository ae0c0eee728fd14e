"""Every guard that the explorer must be able to miss: how to take it away, and the case that shows it.

Built with the means of tests/races/guards; what is taken away here is the protocol's own code, except where
the stepped rows stand in SQL's place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from stoker import EntryKey, Event, Reading, State, View
from stoker.cache.fill import Filled, Filler
from stoker.cache.near import Near
from stoker.cache.plan import Plan
from stoker.cache.question import Question
from stoker.cache.read import Cache
from stoker.cache.reading import Content, Miss
from stoker.cache.store import BEGIN, STORE, Claim, Found, Store
from stoker.errors import CacheUnavailable
from stoker.handlers import relay
from stoker.jobs import Outcome
from stoker.stoker import Stoker
from tests.explore.domain import State as RowState
from tests.explore.rows import Outbox, Rows, Snapshot, SteppedLoads
from tests.races.guards.away import Removal, replaced, script
from tests.races.guards.reading import judging


class Guard(NamedTuple):
    """How to take a guard away, and the case in which its absence shows."""

    remove: Removal
    case: str


async def _load_then_stamp(self: Filler, key: EntryKey) -> Filled:
    view = self.catalog.view(key.view)
    body = (await self.loads.load(view, [key])).bodies[key]
    [claim] = await self.store.begin([self.store.keys.entry(key, view.version)])
    assert claim is not None
    envelope, life = self._envelope(view, claim, body, claim.server.now_us(), 1)
    [outcome] = await self.store.store([(claim, envelope, life)])
    return Filled(Content.built(body), outcome)


async def _load_many_then_stamp(self: Filler, keys: Sequence[EntryKey]) -> dict[EntryKey, Outcome]:
    return {key: (await _load_then_stamp(self, key)).outcome for key in keys}


def _joins_any(self: Filler, claim: Claim) -> asyncio.Task[list[Filled]] | None:
    return next((flight for key, flight in self._flights.items() if key[0] == claim.names.entry), None)


async def _joins_an_open_load(self: SteppedLoads, view: View, key: EntryKey) -> Any:  # noqa: ANN401
    waiting = self._waiting.get(key)
    if waiting is None:
        waiting = self._waiting[key] = self._detached.start(self.load(view, [key]))
        waiting.add_done_callback(lambda _: self._waiting.pop(key))
    return await asyncio.shield(waiting)


async def _one_session(self: SteppedLoads, view: View, keys: Sequence[EntryKey]) -> dict[EntryKey, bytes]:
    """The request's own session: its snapshot is older than the stamps."""
    opened = self.__dict__.setdefault("opened", await Snapshot(self._rows).snapshot(keys))

    class Old(Snapshot):
        async def snapshot(self, keys: Sequence[EntryKey]) -> RowState:
            return opened  # type: ignore[no-any-return]

    return self.bodies(await view.load(Old(self._rows), keys))  # type: ignore[arg-type]


async def _settles_first(stoker: Stoker) -> int:
    async with stoker.engine.begin() as connection:
        claimed = await Outbox.claim(connection, stoker.settings.changes, ())  # type: ignore[arg-type]
        folded = await relay.fold(connection, stoker.domain, claimed)
        ids = [one for same in claimed for one in same.ids]
        await Outbox.settle(connection, ids)  # type: ignore[arg-type]
    await relay.unlink(stoker, folded.invalidations)
    return len(ids)


async def _asks_nobody(*_: object) -> None:
    """The audience is what the writer saw."""


_commit, _unlink = Rows.commit, Store.unlink


async def _event_first(
    self: Rows, change: Callable[[RowState], RowState] | None, event: Event | None, touched: str
) -> None:
    await _commit(self, None, event, touched)
    await _commit(self, change, None, touched)


async def _unlink_quietly(self: Store, stamps: Sequence[str]) -> None:
    try:
        await _unlink(self, stamps)
    except CacheUnavailable:
        return


async def _after_miss_unasked(
    self: Cache, plan: Plan, cause: Miss, beside: asyncio.Task[Filled] | None, _reader: object
) -> Reading:
    content = (await (beside or self.filler.fill(plan.key))).content
    assert content is not None
    return Reading(content, State.MISS, cause=cause)


async def _from_sql_asked_before(self: Cache, plan: Plan, reader: object) -> Reading:
    role = await self.rights.role_in_sql(plan.guard, reader) if plan.guard else None
    body = (await self.filler.loads.load_without_stamp(plan.view, plan.key)).bodies[plan.key]
    return Reading(Content.built(body), State.BYPASS, role=role)


async def _only_outdated_again(self: Store, question: Question) -> list[Found]:
    entries = question.names
    kept = [self.near.get(names.entry) for names in entries]
    found = await self._read(question, kept)
    outdated = [at for at, near in enumerate(kept) if near and found[at].miss is not None]
    for at in outdated:
        self.near.drop(entries[at].entry)
    again = await self.peek(Question(entries[at] for at in outdated)) if outdated else []
    for at, one in zip(outdated, again, strict=True):
        found[at] = one
    for names, near, one in zip(entries, kept, found, strict=True):
        if near is None and one.miss is None and one.envelope and one.content:
            self.near.put(names.entry, Near(one.envelope, one.content))
    return found


async def _near_unasked(self: Store, question: Question) -> list[Found]:
    kept = [self.near.get(names.entry) for names in question.names]
    found = await self.peek(question)
    for names, near, one in zip(question.names, kept, found, strict=True):
        if near is None and one.miss is None and one.envelope and one.content:
            self.near.put(names.entry, Near(one.envelope, one.content))
    return [
        one if near is None else Found(*near, None, revivable=True, server=one.server)
        for near, one in zip(kept, found, strict=True)
    ]


GUARDS: Mapping[str, Guard] = {
    "stamps compared by the store": Guard(
        script(STORE, "redis.call('GET', KEYS[1]) ~= ARGV[1] or ", ""), "two readers, a writer"
    ),
    "the hard stamp compared by the store": Guard(
        script(STORE, " or redis.call('GET', KEYS[2]) ~= ARGV[2]", ""),
        "a hard stamp is evicted under a build",
    ),
    "stamps compared by the read": Guard(judging(stamps=False), "two readers of a warm page, a writer"),
    "a missing stamp being a miss": Guard(judging(missing=False), "two readers of a warm page, a writer"),
    "the hard stamp": Guard(judging(hard=False), "soft then hard, loaders fail"),
    "the run compared by the read": Guard(judging(runs=False), "the server comes back old"),
    "the run compared by begin": Guard(
        script(BEGIN, " or string.sub(stamp, 1, #ARGV[1]) ~= ARGV[1]", ""), "the server comes back old"
    ),
    "the time in a stamp": Guard(
        script(BEGIN, "string.format('%014x', now_us)", "'00000000000000'"), "the stamps' reply is lost"
    ),
    "the lease naming its stamps": Guard(
        script(BEGIN, " or string.sub(held, 1, #soft + #hard) ~= soft .. hard", ""),
        "two readers after a build was abandoned",
    ),
    "stamps before the load, reading": Guard(
        replaced(Filler, "fill", _load_then_stamp), "two readers, a writer"
    ),
    "stamps before the load, warming": Guard(
        replaced(Filler, "fill_many", _load_many_then_stamp), "a warm job, a reader, a writer"
    ),
    "a fresh transaction": Guard(
        replaced(SteppedLoads, "_in_snapshot", _one_session), "a cold reader who reads again, a writer"
    ),
    "flights joined only under one's own stamps": Guard(
        replaced(Filler, "_join", _joins_any), "two readers in one process, a writer"
    ),
    "loads joined only before they begin": Guard(
        replaced(SteppedLoads, "load_without_stamp", _joins_an_open_load), "the server's memory is full"
    ),
    "stamps read before a near entry is served": Guard(
        replaced(Store, "fetch", _near_unasked), "two readers of a warm page, a writer"
    ),
    "unlinked before settled": Guard(
        replaced(relay, "apply_all", _settles_first), "two readers of a warm page, a writer"
    ),
    "errors of unlinking raised": Guard(replaced(Store, "unlink", _unlink_quietly), "the server is away"),
    "the audience when it is applied": Guard(replaced(relay, "_audience", _asks_nobody), "an audience grows"),
    "events in the writer's transaction": Guard(
        replaced(Rows, "commit", _event_first), "a sweeper at any time"
    ),
    "access checked on every read": Guard(replaced(Cache, "_guard", lambda *_: None), "a removal"),
    "access checked after a wait": Guard(
        replaced(Cache, "_after_miss", _after_miss_unasked), "a removal, then a secret"
    ),
    "access read with what it guards": Guard(
        replaced(Store, "fetch", _only_outdated_again), "a removal, then a secret that is read"
    ),
    "access checked after SQL": Guard(
        replaced(Cache, "_from_sql", _from_sql_asked_before), "a removal, then a secret, past the cache"
    ),
}
