"""Looking entries up: one MGET for stamps and entries, and the decision whether each entry is valid.

Hits, batches, builds and the verifier all use it. It loads nothing. Raises CacheUnavailable when the server
does not answer; what is wrong with stored bytes is a miss with its cause, never an error.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from typing import Any, NamedTuple

from pydantic import BaseModel

from stoker.cache.envelope import Forged, Seal, decode
from stoker.cache.keys import EntryNames
from stoker.cache.near import Near, NearCache, Served, Terms
from stoker.cache.reading import Content, Found, Miss, Reading, State
from stoker.cache.view import EntryKey, View
from stoker.errors import NotFound
from stoker.redis.cache import CacheClient, NodeAway
from stoker.redis.connection import ServerRun, pack

logger = logging.getLogger(__name__)

Params = Mapping[str, Any] | BaseModel | None
COMMANDS_KEPT = 20_000
"""Packed commands that are remembered: up to four for each remembered plan."""
ALARM_S = 60.0
"""Seconds between two log lines about forged entries; each of them is counted."""
NAMES_KEPT = 2
"""Commands for more entries are not remembered. Two: an entry and the access entry that guards it."""


class Asked(NamedTuple):
    """One of many entries to read."""

    view: str | View
    """The view, or its name."""
    scope_id: object
    """An int, or a str where the scope kind has ids of text."""
    params: Params = None
    """A mapping, or the view's model; None for its defaults."""
    within: object = None
    """The id of the parent that it is asked for under; for views with `Access.within` only."""


@dataclass(slots=True, eq=False)
class Plan:
    """The view, key and Redis names of a request. They depend on neither reader nor time: made once and kept.

    Only `served` ever changes: what the request may be answered with within a term.

    `names`: the keys of the entry and, if it is guarded, of the access entry `guard`. `member`: the key as a
    member of the ranking of read entries. `parent`: the one that the entry must belong to; None: any.
    `times`: where the seconds of each hit are added.
    """

    view: View
    key: EntryKey
    guard: EntryKey | None
    names: tuple[EntryNames, ...]
    member: bytes
    parent: bytes | None = None
    times: deque[float] = field(default_factory=deque)
    served: Served | None = None

    def belongs(self, parent: bytes) -> bool:
        """Whether an entry of that parent is the one that is asked for."""
        return self.parent is None or self.parent == parent

    def reading(self, found: Found, state: State, role: str | None) -> Reading:
        """A reading of what Redis held; `found` has an envelope. Raises NotFound under a wrong parent."""
        envelope, content = found.envelope, found.content
        assert envelope is not None  # noqa: S101 - the caller has checked it
        assert content is not None  # noqa: S101 - the same
        if self.parent is not None and envelope.parent != self.parent:
            raise self.not_found()
        age = timedelta(microseconds=max(0, found.server.now_us() - envelope.created_us))
        return Reading(content, state, age, found.miss, role)

    def not_found(self) -> NotFound:
        """The same for what is nowhere and for what is elsewhere: it must not tell that it exists."""
        return NotFound(f"{self.key} does not exist")


UNKNOWN = Found(None, None, Miss.BYPASS, revivable=False, server=ServerRun(b"", 0))
"""For an entry whose node of a cluster is away: it is built from SQL and not stored."""


class Held(NamedTuple):
    """What the cache held for a request: for its entry and for the access entry that guards it."""

    plan: Plan
    found: Found
    guard: Found | None = None
    cause: Miss | None = None
    """Why the entry was built after the first lookup, if it was."""

    def missing(self) -> list[EntryKey]:
        """The entries that must be built."""
        missing = [self.plan.key] if self.found.miss is not None else []
        if self.plan.guard is not None and self.guard is not None and self.guard.miss is not None:
            missing.append(self.plan.guard)
        return missing


class Lookup:
    """Looks up entries in the near cache of this process and on one server."""

    def __init__(self, client: CacheClient, near: NearCache, seal: Seal) -> None:
        self._client = client
        self._seal = seal
        self.near = near
        self.terms = Terms[Plan]()

    async def fetch(self, names: tuple[EntryNames, ...], *, in_order: bool = False) -> list[Found]:
        """Read entries with their stamps in one round trip; of entries that are kept near, only the stamps.

        A kept entry whose stamps have changed takes a second round trip for what Redis holds now. `in_order`:
        some are guarded by the access entry of another scope.
        """
        kept = [self.near.get(one.entry) for one in names]
        found = await self._read(names, kept, in_order=in_order)
        outdated = False
        for own, held, one in zip(names, kept, found, strict=True):
            if one.miss is not None:
                if held is not None:
                    self.near.drop(own.entry)
                    outdated = True
            elif held is None and one.envelope and one.content:
                self.near.put(own.entry, Near(one.envelope, one.content))
        # Read all of them again in one call: access must not be older than what it guards (RACES 23).
        return await self.fetch(names, in_order=in_order) if outdated else found

    def needs_stamps_only(self, names: Iterable[EntryNames]) -> bool:
        """Whether `fetch` would read no more than stamps of these, with any others in the same command."""
        return not self._client.is_cluster and all(self.near.peek(own.entry) for own in names)

    async def peek(self, names: Iterable[EntryNames]) -> list[Found]:
        """As `fetch`, from Redis itself, without the near cache."""
        names = tuple(names)
        return await self._read(names, [None] * len(names)) if names else []

    async def _read(
        self, names: tuple[EntryNames, ...], kept: Sequence[Near | None], *, in_order: bool = False
    ) -> list[Found]:
        scope = names[0].hard
        if self._client.is_cluster:
            for own in names:
                if own.hard != scope:
                    return await self._read_apart(names, kept, in_order=in_order)
        packed, places = command(names, tuple([near is None for near in kept]))
        try:
            answer = await self._client.ask(packed, scope)
        except NodeAway:
            return [UNKNOWN] * len(names)
        return self.judged(names, kept, places, answer.first(), answer.server)

    async def _read_apart(
        self, names: tuple[EntryNames, ...], kept: Sequence[Near | None], *, in_order: bool
    ) -> list[Found]:
        """Read each scope from the node of a cluster that has it, all at the same time."""
        found = await self._read_scopes(names, kept)
        seen = [
            Near(one.envelope, one.content)
            if near is None and one.miss is None and one.envelope and one.content
            else near
            for one, near in zip(found, kept, strict=True)
        ]
        if in_order and any(new is not old for new, old in zip(seen, kept, strict=True)):
            # An entry that came just now may be newer than the right to it, which another node has told. When
            # its stamps still hold in a second look, that look's rights are newer (RACES 23).
            found = await self._read_scopes(names, seen)
        return found

    async def _read_scopes(self, names: tuple[EntryNames, ...], kept: Sequence[Near | None]) -> list[Found]:
        scopes: dict[str, list[int]] = {}
        for place, own in enumerate(names):
            scopes.setdefault(own.hard, []).append(place)
        together = [
            (tuple([names[at] for at in where]), [kept[at] for at in where]) for where in scopes.values()
        ]
        commands = [command(own, tuple([near is None for near in nears])) for own, nears in together]
        answers = await self._client.ask_each(
            [(packed, hard) for (packed, _), hard in zip(commands, scopes, strict=True)]
        )
        found = [UNKNOWN] * len(names)
        for where, group, (_, places), answer in zip(
            scopes.values(), together, commands, answers, strict=True
        ):
            if not isinstance(answer, NodeAway):
                judged = self.judged(*group, places, answer.first(), answer.server)
                for at, one in zip(where, judged, strict=True):
                    found[at] = one
        return found

    def judged(
        self,
        names: tuple[EntryNames, ...],
        kept: Sequence[Near | None],
        places: Places,
        values: Sequence[bytes | None],
        server: ServerRun,
    ) -> list[Found]:
        """Judge what a `command` was answered."""
        return [
            _judge(own, (values[stamp], values[hard], near or values[entry]), server, self._seal)
            for own, near, (stamp, hard, entry) in zip(names, kept, places, strict=True)
        ]


Places = tuple[tuple[int, int, int], ...]
"""Where in a reply each entry's stamp, hard stamp and stored bytes are."""


def command(names: tuple[EntryNames, ...], far: tuple[bool, ...]) -> tuple[bytes, Places]:
    """The packed MGET of these entries' stamps, with the bytes of those that are `far`; and the places.

    No key is sent twice: an entry and its access entry share one hard stamp.
    """
    return _kept_command(names, far) if len(names) <= NAMES_KEPT else _command(names, far)


def _command(names: tuple[EntryNames, ...], far: tuple[bool, ...]) -> tuple[bytes, Places]:
    places: dict[str, int] = {}
    found = []
    for own, whole in zip(names, far, strict=True):
        stamp = places.setdefault(own.stamp, len(places))
        hard = places.setdefault(own.hard, len(places))
        # -1: a place that is never read.
        found.append((stamp, hard, places.setdefault(own.entry, len(places)) if whole else -1))
    return pack([("MGET", *places)]), tuple(found)


_kept_command = lru_cache(maxsize=COMMANDS_KEPT)(_command)


def _judge(
    names: EntryNames,
    values: tuple[bytes | None, bytes | None, bytes | Near | None],
    server: ServerRun,
    seal: Seal,
) -> Found:
    stamp, hard, stored = values
    if stored is None:
        # A stamp lives longer than its entry: if it is there, the server may have evicted the entry; whoever
        # counts the miss asks `Store.absent_because`. A stamp that other entries share says nothing.
        cause = Miss.EVICTED if stamp is not None and names.alone else Miss.COLD
        return Found(None, None, cause, revivable=False, server=server)
    if isinstance(stored, Near):
        envelope, content = stored
    else:
        try:
            read = decode(stored, seal)
        except Forged:
            _alarm(names)
            return Found(None, None, Miss.FORGED, revivable=False, server=server)
        if read is None or read.check != names.check:
            return Found(None, None, Miss.UNREADABLE, revivable=False, server=server)
        envelope, content = read, Content.stored(read)
    # A stamp of another run of the server counts as missing (RACES 8); a missing stamp is a miss (RACES 14).
    hard_holds = hard is not None and hard == envelope.hard and hard.startswith(server.run)
    soft_holds = stamp is not None and stamp == envelope.stamp and stamp.startswith(server.run)
    miss: Miss | None = None
    if not (hard_holds and soft_holds):
        miss = Miss.INVALIDATED if envelope.hard.startswith(server.run) else Miss.RESTARTED
    elif envelope.expired(server.now_us()):
        miss = Miss.EXPIRED
    return Found(envelope, content, miss, hard_holds, server)


_alarmed_s = -ALARM_S


def _alarm(names: EntryNames) -> None:
    global _alarmed_s  # noqa: PLW0603 - of the process, as its log is
    now_s = time.monotonic()
    if now_s >= _alarmed_s + ALARM_S:
        _alarmed_s = now_s
        logger.error("cache.forged", extra={"entry": names.entry})
