"""The steps of the cache protocol that change what Redis holds: begin, store, unlink. `lookup` only reads.

Knows nothing of loading. Every method raises CacheUnavailable when the server does not answer.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from redis.exceptions import OutOfMemoryError, RedisError, ResponseError

from stoker.cache.envelope import HEAD_BYTES, HEADER, Envelope, Seal, built_under, read_header, read_parent
from stoker.cache.keys import EntryNames, KeySpace
from stoker.cache.lookup import Lookup
from stoker.cache.near import NearCache
from stoker.cache.reading import Miss
from stoker.cache.view import Scope
from stoker.errors import CacheUnavailable
from stoker.jobs import Outcome
from stoker.redis.cache import RUN, CacheClient, NodeAway
from stoker.redis.connection import ServerRun
from stoker.redis.run import field
from stoker.redis.script import Script

BEGIN = Script("stoker.cache", "begin")
STORE = Script("stoker.cache", "store")
RELEASE = Script("stoker.cache", "release")
STAMP_LIFE = timedelta(minutes=10)
"""Life of a new stamp: longer than any load. Storing extends it past the entry's."""
STAMP_MARGIN = timedelta(minutes=1)
"""How much longer than its entry a stamp lives (RACES 13)."""
UNLINK_CHUNK = 500
"""Keys in one UNLINK: short enough not to hold up readers."""
KEYS_PER_CALL = 4 * UNLINK_CHUNK
"""Keys in one call: few enough for a busy server to finish within the deadline."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The stamps taken before a load, and the lease if it was won. Only the stamps give correctness."""

    names: EntryNames
    stamp: bytes
    hard: bytes
    won: bool
    token: str
    server: ServerRun
    built: bool
    """Whether the entry was built since the caller's lookup and is valid under these stamps."""

    @property
    def flight(self) -> tuple[str, bytes, bytes]:
        """Identifies the load that a reader with this claim may join (RACES 31)."""
        return self.names.entry, self.stamp, self.hard


class Store:
    """The protocol's steps on one server."""

    def __init__(
        self,
        client: CacheClient,
        keys: KeySpace,
        lease: timedelta,
        near: NearCache,
        seal: Seal,
    ) -> None:
        self.client = client
        self.keys = keys
        self.lookup = Lookup(client, near, seal)
        self.seal = seal
        self._lease_ms = _ms(lease)

    async def begin(self, entries: Sequence[EntryNames]) -> list[Claim | None]:
        """Take or create stamps and try leases, before anything is loaded (RACES 1).

        None where the server refused the script because its memory is full, or the entry's node of a cluster
        is away: then nothing can be stored (RACES 44).
        """
        token = secrets.token_urlsafe(9)
        answer = await self.client.call(
            *(
                BEGIN.call(
                    (names.stamp, names.hard, names.lease, names.entry),
                    RUN,
                    secrets.token_urlsafe(8),
                    _ms(STAMP_LIFE),
                    token,
                    self._lease_ms,
                    HEADER.size,
                )
                for names in entries
            )
        )
        return [
            _claim(names, reply, token, answer.server_of(index))
            for index, (names, reply) in enumerate(zip(entries, answer.replies, strict=True))
        ]

    async def store(self, claims: Sequence[tuple[Claim, Envelope, timedelta]]) -> list[Outcome]:
        """Store envelopes for their life, each only if its stamps are unchanged; gives leases back.

        STORED, SUPERSEDED by an invalidation, or NOT_KEPT because the server's memory is full.
        """
        answer = await self.client.call(
            *(
                STORE.call(
                    (claim.names.stamp, claim.names.hard, claim.names.entry, claim.names.lease),
                    claim.stamp,
                    claim.hard,
                    envelope.encode(self.seal),
                    _ms(life),
                    _ms(life + STAMP_MARGIN),
                    claim.token,
                )
                for claim, envelope, life in claims
            )
        )
        return [_stored(reply) for reply in answer.replies]

    async def absent_because(self, entries: Sequence[EntryNames]) -> list[Miss]:
        """Why entries are not there although their own stamps are: EVICTED where that is certain, else COLD.

        A build that stored nothing, or that goes on, leaves a stamp of STAMP_LIFE at most. One that stored
        made the stamp live STAMP_MARGIN longer than its entry: above STAMP_LIFE the entry's time is not over.
        A server that has evicted nothing in this run has not evicted it either. One that is there by now was
        built meanwhile.
        """
        asked = [one for names in entries for one in (("PTTL", names.stamp), ("EXISTS", names.entry))]
        (evicts, told) = await asyncio.gather(self._evicts(), self.client.call(*asked))
        return [
            Miss.EVICTED if evicts and not built and _is_longer(life_ms) else Miss.COLD
            for life_ms, built in zip(told.replies[::2], told.replies[1::2], strict=True)
        ]

    async def _evicts(self) -> bool:
        """Whether a server has evicted anything in its run; False where one of them does not say."""
        try:
            nodes = await self.client.primaries()
            told = await asyncio.gather(*(node.call(("INFO", "stats")) for node in nodes))
        except CacheUnavailable:
            return False
        return any(field(answer.first(), b"evicted_keys") not in (b"", b"0") for answer in told)

    async def built_at(self, entries: Sequence[EntryNames]) -> list[float | None]:
        """When entries were built, in seconds since 1970, whether valid or not; None for missing ones."""
        if not entries:
            return []
        answer = await self.client.call(*(("GETRANGE", one.entry, 0, HEADER.size - 1) for one in entries))
        headers = [read_header(reply) for reply in answer.known(missing=b"")]
        return [None if header is None else header.created_us / 1e6 for header in headers]

    async def parents(self, entries: Sequence[EntryNames]) -> list[bytes]:
        """The parents that entries name, as `parent_name` writes them; empty for none or a missing entry.

        They are not authenticated: use them to save work, never to serve.
        """
        if not entries:
            return []
        answer = await self.client.call(*(("GETRANGE", one.entry, 0, HEAD_BYTES - 1) for one in entries))
        return [read_parent(reply) for reply in answer.known(missing=b"")]

    async def release(self, claims: Iterable[Claim]) -> None:
        """Give back leases of builds that stored nothing."""
        commands = [
            RELEASE.call((claim.names.lease,), claim.stamp + claim.hard + claim.token.encode())
            for claim in claims
            if claim.won
        ]
        if commands:
            await self.client.call(*commands)

    async def unlink(self, stamps: Iterable[str]) -> set[bytes]:
        """Invalidate: unlink stamps and wait for the acknowledgement. Idempotent, in any order.

        Returns the runs of the servers that acknowledged it; more than one if the server was replaced
        meanwhile, or in a cluster. Raises NodeAway after it has unlinked what other nodes have.

        Plain UNLINK, which a server whose memory is full still accepts. An error reply is raised, so that a
        delete that did not happen never counts as done (RACES 7).
        """
        wanted = list(stamps)
        runs: set[bytes] = set()
        away: list[NodeAway] = []
        # Each call has a deadline of its own: a change of very many scopes must not fail for its size.
        for at in range(0, len(wanted), KEYS_PER_CALL):
            groups = self.client.together(wanted[at : at + KEYS_PER_CALL])
            chunks = [
                group[at : at + UNLINK_CHUNK] for group in groups for at in range(0, len(group), UNLINK_CHUNK)
            ]
            answer = await self.client.call(*(("UNLINK", *chunk) for chunk in chunks))
            for index, reply in enumerate(answer.replies):
                if isinstance(reply, RedisError):
                    raise CacheUnavailable(f"the cache Redis refused to unlink: {reply}") from reply
                if isinstance(reply, NodeAway):
                    away.append(reply)
                else:
                    runs.add(answer.server_of(index).run)
        if away:
            raise NodeAway.each(away)
        return runs

    def stamps_of(self, scope: Scope, views: Iterable[str], *, hard: bool) -> set[str]:
        """The stamp keys that an invalidation unlinks."""
        stamps = {self.keys.stamp(scope, view) for view in views}
        if hard:
            stamps.add(self.keys.hard(scope))
        return stamps


def _claim(names: EntryNames, reply: Any, token: str, server: ServerRun) -> Claim | None:  # noqa: ANN401
    _raise_unless_full(reply)
    if isinstance(reply, OutOfMemoryError | NodeAway):
        return None
    stamp, hard, won, header = reply
    built = built_under(header, stamp, hard, names.check, server.now_us())
    return Claim(names, stamp, hard, won == 1, token, server, built)


def _stored(reply: object) -> Outcome:
    _raise_unless_full(reply)
    if isinstance(reply, OutOfMemoryError | NodeAway):
        return Outcome.NOT_KEPT
    return Outcome.STORED if reply == 1 else Outcome.SUPERSEDED


def _is_longer(life_ms: object) -> bool:
    """Whether a stamp lives longer than a build alone makes it; an error is no time."""
    return isinstance(life_ms, int) and life_ms > _ms(STAMP_LIFE)


def _raise_unless_full(reply: object) -> None:
    if isinstance(reply, ResponseError) and not isinstance(reply, OutOfMemoryError):
        raise CacheUnavailable(f"the cache Redis refused a script: {reply}") from reply


def _ms(duration: timedelta) -> int:
    return max(1, round(duration.total_seconds() * 1000))
