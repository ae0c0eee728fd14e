"""How an entry is stored: a fixed header and the JSON body, compressed where that pays.

The body is exactly what an HTTP response needs, so a hit is sent without decode and encode. An entry has a
seal, a hash that is keyed with the installation's key in Postgres: an attacker who can only write to the
cache cannot forge one. (They can restore an older entry together with its stamps: a seal shows no age.)
Anything that is not an intact entry of this format is a miss. Never pickle.
"""

from __future__ import annotations

import struct
import threading
from hashlib import blake2b
from hmac import compare_digest
from typing import NamedTuple

import zstandard

MAGIC = b"ST"
FORMAT = 1
PLAIN, ZSTD = 0, 1
STAMP_BYTES = 41
"""A stamp: 16 hex digits of the server's run id, 11 characters of nonce, 14 hex digits of time in us."""
LARGEST_BODY_BYTES = 64 * 1024 * 1024
"""A header with a larger value was not written by Stoker."""

# magic, format, codec, created us, ttl ms, eager ms, build us, etag, key check, stamp, hard stamp, body bytes
# and bytes of the names of the parent and of the builder, which follow
HEADER = struct.Struct(f">2sBBQIII8s8s{STAMP_BYTES}s{STAMP_BYTES}sIBB")
LONGEST_NAME = 255
HEAD_BYTES = HEADER.size + 2 * LONGEST_NAME
"""Header, parent and builder take no more."""
SEAL_BYTES = 16
"""The seal follows header, parent, builder and packed body."""
DECLARES_SIZE = 0b1110_0000
"""Bits of a zstd frame's descriptor that are set where it declares a size (RFC 8878, 3.1.1.1.1)."""
DESCRIPTOR_AT = 4

_zstd = threading.local()  # the codec's objects must not be shared between threads


class Envelope(NamedTuple):
    """One stored value with what is needed to judge it.

    Times are the cache server's: `created_us` since 1970; `ttl_ms` until it counts as expired; `eager_ms`
    after which a reader asks for a refresh. `build_us` is how long building took. `packed` is the body as
    stored. `parent` is the parent that the entry belongs to (`tenant:7`), empty for none. `builder` says what
    built it, and in which process: only operators ask for it (`read_builder`), so `decode` leaves it out.
    """

    codec: int
    created_us: int
    ttl_ms: int
    eager_ms: int
    build_us: int
    etag: bytes
    check: bytes
    stamp: bytes
    hard: bytes
    body_bytes: int
    packed: bytes
    parent: bytes = b""
    builder: bytes = b""

    def expired(self, now_us: int) -> bool:
        """Whether the entry's TTL has passed."""
        return now_us >= self.created_us + self.ttl_ms * 1000

    def left_s(self, now_us: int) -> float:
        """Seconds until the TTL has passed."""
        return (self.created_us - now_us) / 1_000_000 + self.ttl_ms / 1000

    def eager(self, now_us: int) -> bool:
        """Whether a read at this time should ask for a refresh."""
        return now_us >= self.created_us + self.eager_ms * 1000

    def encode(self, seal: Seal) -> bytes:
        """The bytes to store."""
        header = HEADER.pack(MAGIC, FORMAT, *self[:-3], len(self.parent), len(self.builder))
        unsealed = header + self.parent + self.builder + self.packed
        return unsealed + seal.of(unsealed)


class Forged(Exception):
    """An entry whose seal is wrong: it is damaged, or was written by somebody who does not have the key."""


class Seal:
    """Seals entries with a keyed hash (BLAKE2b) of all of their other bytes, and verifies seals.

    A new key is accepted before it seals, and the last one for as long as its entries live: so a rotation
    leaves the cache warm.
    """

    def __init__(self, sealing: bytes, *accepted: bytes) -> None:
        self.use(sealing, *accepted)

    def use(self, sealing: bytes, *accepted: bytes) -> None:
        """Seal with this key from now on; accept it and the others."""
        self._keyed = [
            blake2b(key=key, digest_size=SEAL_BYTES, person=b"stoker entry") for key in (sealing, *accepted)
        ]

    def of(self, unsealed: bytes) -> bytes:
        """The seal of an entry."""
        hashed = self._keyed[0].copy()
        hashed.update(unsealed)
        return hashed.digest()

    def holds(self, stored: bytes) -> bool:
        """Whether an entry was sealed with one of the keys."""
        unsealed, seal = memoryview(stored)[:-SEAL_BYTES], stored[-SEAL_BYTES:]
        for keyed in self._keyed:
            hashed = keyed.copy()
            hashed.update(unsealed)
            if compare_digest(hashed.digest(), seal):
                return True
        return False


def decode(stored: bytes, seal: Seal) -> Envelope | None:
    """The envelope of stored bytes; None for anything that is not one of this format. Raises Forged."""
    if len(stored) < HEADER.size + SEAL_BYTES:
        return None
    fields = HEADER.unpack_from(stored)
    if fields[:2] != (MAGIC, FORMAT):
        return None
    if not seal.holds(stored):
        raise Forged
    parent_end = HEADER.size + fields[-2]
    packed_at = parent_end + fields[-1]
    if packed_at > len(stored) - SEAL_BYTES:
        return None
    packed, parent = stored[packed_at:-SEAL_BYTES], stored[HEADER.size : parent_end]
    envelope = Envelope._make((*fields[2:-2], packed, parent, b""))
    return envelope if _can_be_unpacked(envelope) else None


def _can_be_unpacked(envelope: Envelope) -> bool:
    """Whether header and body agree, as far as can be seen without unpacking."""
    packed = envelope.packed
    if envelope.codec == PLAIN:
        return len(packed) == envelope.body_bytes
    if envelope.codec != ZSTD or not len(packed) < envelope.body_bytes <= LARGEST_BODY_BYTES:
        return False
    # `pack` writes frames that declare no size. A frame with a size would be unpacked to that size, past any
    # limit.
    return len(packed) > DESCRIPTOR_AT and not packed[DESCRIPTOR_AT] & DECLARES_SIZE


def built_under(header: bytes, stamp: bytes, hard: bytes, check: bytes, now_us: int) -> bool:
    """Whether a header is that of an entry of this key, built under these stamps and not expired."""
    envelope = read_header(header)
    if envelope is None or envelope.expired(now_us):
        return False
    return (envelope.stamp, envelope.hard, envelope.check) == (stamp, hard, check)


def read_header(header: bytes) -> Envelope | None:
    """The header in an entry's first bytes, without what follows it; None if they are not of this format.

    It is not authenticated, because the seal covers header and body together. Use it to save work, never to
    serve.
    """
    if len(header) < HEADER.size:
        return None
    fields = HEADER.unpack_from(header)
    return Envelope._make((*fields[2:-2], b"", b"", b"")) if fields[:2] == (MAGIC, FORMAT) else None


def read_parent(head: bytes) -> bytes:
    """The parent that an entry's first HEAD_BYTES name, not authenticated either; empty for none."""
    return _names(head)[0]


def read_builder(head: bytes) -> bytes:
    """What built an entry and in which process, by its first HEAD_BYTES, not authenticated either."""
    return _names(head)[1]


def _names(head: bytes) -> tuple[bytes, bytes]:
    if read_header(head) is None:
        return b"", b""
    parent_end = HEADER.size + head[HEADER.size - 2]
    return head[HEADER.size : parent_end], head[parent_end : parent_end + head[HEADER.size - 1]]


def pack(body: bytes, compress_from_bytes: int) -> tuple[int, bytes]:
    """Codec and stored form of a body: compressed from that size on, and only if smaller."""
    if len(body) >= compress_from_bytes:
        packed = _compressor().compress(body)
        if len(packed) < len(body):
            return ZSTD, packed
    return PLAIN, body


def unpack(codec: int, packed: bytes, body_bytes: int) -> bytes:
    """The unpacked body; raises ValueError for bytes that `pack` did not write, even if sealed."""
    if codec == PLAIN:
        return packed
    try:
        body = _decompressor().decompress(packed, max_output_size=body_bytes)
    except zstandard.ZstdError as error:
        raise ValueError(f"a body that was not packed here: {error}") from error
    if len(body) != body_bytes:
        raise ValueError(f"a body of {len(body)} bytes where the header says {body_bytes}")
    return body


def etag_of(body: bytes) -> bytes:
    """A digest of a body, eight bytes."""
    return blake2b(body, digest_size=8).digest()


def _compressor() -> zstandard.ZstdCompressor:
    if not hasattr(_zstd, "compressor"):
        # The header has the size, so the frame does not need it.
        _zstd.compressor = zstandard.ZstdCompressor(level=3, write_content_size=False)
    return _zstd.compressor  # type: ignore[no-any-return]


def _decompressor() -> zstandard.ZstdDecompressor:
    if not hasattr(_zstd, "decompressor"):
        _zstd.decompressor = zstandard.ZstdDecompressor()
    return _zstd.decompressor  # type: ignore[no-any-return]
