"""How an entry is stored: a fixed header and the JSON body, compressed where that pays.

The body is exactly what an HTTP response needs, so a hit is sent without decode and encode. Anything that
is not an intact envelope of this format is None: a miss, never an exception. Never pickle.
"""

from __future__ import annotations

import struct
import threading
from hashlib import blake2b
from typing import NamedTuple
from zlib import crc32

import zstandard

MAGIC = b"ST"
FORMAT = 1
PLAIN, ZSTD = 0, 1
STAMP_BYTES = 41
"""A stamp: 16 hex digits of the server's run id, 11 characters of nonce, 14 hex digits of time in us."""
LARGEST_BODY_BYTES = 64 * 1024 * 1024
"""A header that claims more is not one of ours."""

# magic, format, codec, created us, ttl ms, eager ms, build us, etag, key check, stamp, hard stamp, body bytes
HEADER = struct.Struct(f">2sBBQIII8s8s{STAMP_BYTES}s{STAMP_BYTES}sI")
CHECKSUM = struct.Struct(">I")
"""CRC-32 of header and packed body, between the two: a damaged entry is found without unpacking it."""
PACKED_AT = HEADER.size + CHECKSUM.size

_zstd = threading.local()  # the codec's objects must not be shared between threads


class Envelope(NamedTuple):
    """One stored value with what is needed to judge it.

    Times are the cache server's: `created_us` since 1970; `ttl_ms` until it counts as expired; `eager_ms`
    after which a reader asks for a refresh. `build_us` is how long building took. `packed` is the body as
    stored.
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

    def expired(self, now_us: int) -> bool:
        """Whether the entry's TTL has passed."""
        return now_us >= self.created_us + self.ttl_ms * 1000

    def eager(self, now_us: int) -> bool:
        """Whether a read at this time should ask for a refresh."""
        return now_us >= self.created_us + self.eager_ms * 1000

    def encode(self) -> bytes:
        """The bytes to store."""
        header = HEADER.pack(MAGIC, FORMAT, *self[:-1])
        return header + CHECKSUM.pack(crc32(self.packed, crc32(header))) + self.packed


def decode(stored: bytes) -> Envelope | None:
    """The envelope of stored bytes; None for anything that is not an intact one of this format."""
    if len(stored) < PACKED_AT:
        return None
    fields = HEADER.unpack_from(stored)
    packed = stored[PACKED_AT:]
    (checksum,) = CHECKSUM.unpack_from(stored, HEADER.size)
    if fields[:2] != (MAGIC, FORMAT) or crc32(packed, crc32(stored[: HEADER.size])) != checksum:
        return None
    envelope = Envelope._make((*fields[2:], packed))
    intact = envelope.codec in (PLAIN, ZSTD) and envelope.body_bytes <= LARGEST_BODY_BYTES
    return envelope if intact else None


def built_under(header: bytes, stamp: bytes, hard: bytes, check: bytes, now_us: int) -> bool:
    """Whether a header is that of an entry of this key, built under these stamps and not expired."""
    envelope = read_header(header)
    if envelope is None or envelope.expired(now_us):
        return False
    return (envelope.stamp, envelope.hard, envelope.check) == (stamp, hard, check)


def read_header(header: bytes) -> Envelope | None:
    """What an entry's first bytes say, without its body; None if they are not of this format.

    Nothing vouches for it, the checksum covers the body too: for saving work, never for serving.
    """
    if len(header) < HEADER.size:
        return None
    fields = HEADER.unpack_from(header)
    return Envelope._make((*fields[2:], b"")) if fields[:2] == (MAGIC, FORMAT) else None


def pack(body: bytes, compress_from_bytes: int) -> tuple[int, bytes]:
    """Codec and stored form of a body: compressed from that size on, and only if smaller."""
    if len(body) >= compress_from_bytes:
        packed = _compressor().compress(body)
        if len(packed) < len(body):
            return ZSTD, packed
    return PLAIN, body


def unpack(codec: int, packed: bytes, body_bytes: int) -> bytes:
    """The body again; raises ValueError for what `pack` did not write, though its checksum is right."""
    if codec == PLAIN:
        return packed
    try:
        return _decompressor().decompress(packed, max_output_size=body_bytes)
    except zstandard.ZstdError as error:
        raise ValueError(f"a body that was not packed here: {error}") from error


def etag_of(body: bytes) -> bytes:
    """Eight bytes that name a body."""
    return blake2b(body, digest_size=8).digest()


def _compressor() -> zstandard.ZstdCompressor:
    if not hasattr(_zstd, "compressor"):
        # The header already carries the size; the frame need not.
        _zstd.compressor = zstandard.ZstdCompressor(level=3, write_content_size=False)
    return _zstd.compressor  # type: ignore[no-any-return]


def _decompressor() -> zstandard.ZstdDecompressor:
    if not hasattr(_zstd, "decompressor"):
        _zstd.decompressor = zstandard.ZstdDecompressor()
    return _zstd.decompressor  # type: ignore[no-any-return]
