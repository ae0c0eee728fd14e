"""What a read finds and answers, and the body that it carries."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from enum import StrEnum
from typing import Any, NamedTuple

from pydantic_core import from_json

from stoker.cache.envelope import PLAIN, ZSTD, Envelope, etag_of, unpack
from stoker.redis.connection import ServerRun

HEAVY_BYTES = 512 * 1024
"""Bodies above this size are unpacked in a thread: a millisecond or more of work."""


class State(StrEnum):
    """Where an answer came from."""

    HIT = "hit"
    """From the cache, without any SQL."""
    MISS = "miss"
    """Built now, by this reader or by one it waited for."""
    STALE = "stale"
    """The loader failed; this is the last value, known to be outdated."""
    BYPASS = "bypass"
    """From SQL without asking the cache."""


class Miss(StrEnum):
    """Why an entry could not be served as it is."""

    COLD = "cold"
    """Not in the cache: not read before, or so long ago that the server removed it. Where the server evicts,
    it may have been evicted together with its stamp; with parameters, also without it."""
    EVICTED = "evicted"
    """Evicted by the server before its time; told only where that is certain (`Store.absent_because`)."""
    EXPIRED = "expired"
    """Its TTL has passed."""
    INVALIDATED = "invalidated"
    """Its stamps are gone or others: a change was applied, or the server evicted a stamp."""
    RESTARTED = "restarted"
    """Built in an earlier run of the server: it was restarted, or a replica was promoted."""
    ACCESS = "access"
    """The entry was valid; the access entry that guards it had to be built."""
    FORGED = "forged"
    """Its seal is wrong: damaged, or written by somebody who does not have the installation's key."""
    UNREADABLE = "undecodable"
    """Not of this format, or of another key."""
    BYPASS = "bypass"
    """The cache was not asked."""


class Content:
    """A JSON body, unpacked and decoded at most once, however many readers share it."""

    __slots__ = ("_body", "_decoded", "_envelope", "etag")

    def __init__(self, body: bytes | None, etag: bytes, envelope: Envelope | None = None) -> None:
        self.etag = etag
        self._body = body
        self._envelope = envelope
        self._decoded: Any = None

    @classmethod
    def stored(cls, envelope: Envelope) -> Content:
        """The content of an envelope."""
        return cls(envelope.packed if envelope.codec == PLAIN else None, envelope.etag, envelope)

    @classmethod
    def built(cls, body: bytes) -> Content:
        """A body that was just built."""
        return cls(body, etag_of(body))

    @property
    def body(self) -> bytes:
        """The body as JSON."""
        if self._body is None:
            assert self._envelope is not None  # noqa: S101 - one of both is given
            self._body = unpack(self._envelope.codec, self._envelope.packed, self._envelope.body_bytes)
        return self._body

    @property
    def body_bytes(self) -> int:
        """The length of the body, which need not be unpacked for it."""
        return len(self.body) if self._envelope is None else self._envelope.body_bytes

    @property
    def is_heavy(self) -> bool:
        """Whether unpacking `body` would hold up the event loop."""
        return self._body is None and self._envelope is not None and self._envelope.body_bytes > HEAVY_BYTES

    async def unpack(self) -> None:
        """Unpack the body in a thread; raises ValueError as `body` does."""
        await asyncio.to_thread(lambda: self.body)

    @property
    def zstd(self) -> bytes | None:
        """The body compressed as it is stored; None where it is stored plain."""
        return self._envelope.packed if self._envelope is not None and self._envelope.codec == ZSTD else None

    @property
    def decoded(self) -> Any:  # noqa: ANN401 - each view has a shape of its own
        """The decoded body, one object for all readers: never change it."""
        if self._decoded is None:
            self._decoded = from_json(self.body)
        return self._decoded

    def role_of(self, reader: object) -> str | None:
        """What an access entry says of a reader; None for somebody it does not name."""
        try:
            role: str | None = self.decoded.get(str(reader))
        except (ValueError, AttributeError):
            return None  # not an object of roles: SQL is asked
        return role


class Found(NamedTuple):
    """What Redis held for one entry.

    `miss` is None for an entry that is valid now. An invalid entry may still have an `envelope`; `revivable`
    says whether fail-safe may serve it.
    """

    envelope: Envelope | None
    content: Content | None
    miss: Miss | None
    revivable: bool
    server: ServerRun

    def role_of(self, reader: object) -> str | None:
        """The role that a valid access entry gives to the reader; None if there is none."""
        return self.content.role_of(reader) if self.miss is None and self.content is not None else None


class Reading(NamedTuple):
    """One answer."""

    content: Content
    """The body in its forms; use the properties below."""
    state: State
    """Where it came from."""
    age: timedelta = timedelta(0)
    """Time since it was built, by the server's clock; within a term, when Redis was asked last."""
    cause: Miss | None = None
    """Why it was no hit."""
    role: str | None = None
    """What the access view says of the reader; None for a view without one."""

    @property
    def body(self) -> bytes:
        """The JSON of the answer."""
        return self.content.body

    @property
    def value(self) -> Any:  # noqa: ANN401 - each view has a shape of its own
        """The decoded body, the caller's own to change."""
        return from_json(self.content.body)

    @property
    def shared(self) -> Any:  # noqa: ANN401 - each view has a shape of its own
        """The decoded body, one for the whole process: cheaper than `value`, and never to be changed."""
        return self.content.decoded

    @property
    def etag(self) -> str:
        """A strong HTTP entity tag of `body`, in quotes."""
        return self.etag_in(None)

    def etag_in(self, coding: str | None) -> str:
        """The entity tag of the body in a content coding: other bytes, another tag (RFC 9110, 8.8.3.3)."""
        return f'"{self.content.etag.hex()}{f"-{coding}" if coding else ""}"'
