"""Envelopes: what was stored comes back, and anything else is a miss."""

from __future__ import annotations

from datetime import timedelta

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from stoker import EntryKey, View
from stoker.cache.envelope import (
    HEADER,
    LARGEST_BODY_BYTES,
    STAMP_BYTES,
    ZSTD,
    Envelope,
    Forged,
    Seal,
    built_under,
    decode,
    etag_of,
    pack,
    read_builder,
    read_parent,
    unpack,
)
from stoker.cache.reading import Content
from stoker.errors import DeclarationError
from stoker.settings import LONGEST_TTL_S

SEAL = Seal(b"a key")
STAMP, HARD, CHECK = b"s" * STAMP_BYTES, b"h" * STAMP_BYTES, b"k" * 8


def envelope(body: bytes, *, created_us: int = 10, ttl_ms: int = 1000) -> Envelope:
    codec, packed = pack(body, 64)
    return Envelope(
        codec, created_us, ttl_ms, ttl_ms // 2, 3, etag_of(body), CHECK, STAMP, HARD, len(body), packed
    )


def missed(stored: bytes) -> bool:
    """Whether a read of these bytes is a miss."""
    try:
        return decode(stored, SEAL) is None
    except Forged:
        return True


@given(st.binary(max_size=5000))
def test_a_body_survives_being_stored(body: bytes) -> None:
    stored = envelope(body).encode(SEAL)
    read = decode(stored, SEAL)
    assert read == envelope(body)
    assert Content.stored(read).body == body


@given(st.binary(max_size=500), st.binary(max_size=255), st.binary(max_size=255))
def test_parent_and_builder_survive_being_stored(body: bytes, parent: bytes, builder: bytes) -> None:
    whole = envelope(body)._replace(parent=parent, builder=builder)
    stored = whole.encode(SEAL)
    read = decode(stored, SEAL)
    assert read == whole._replace(builder=b"")
    assert Content.stored(read).body == body
    assert (read_parent(stored), read_builder(stored)) == (parent, builder)


@pytest.mark.parametrize(
    "named", [envelope(b"{}")._replace(parent=b"p" * 97), envelope(b"{}")._replace(builder=b"p" * 97)]
)
def test_a_name_longer_than_the_entry_makes_a_miss(named: Envelope) -> None:
    stored = named.encode(SEAL)
    cut = stored[: HEADER.size + 20]
    assert decode(cut + SEAL.of(cut), SEAL) is None


@given(st.binary(max_size=400), st.integers(0, 600), st.integers(1, 255))
def test_one_damaged_byte_makes_a_miss(body: bytes, at: int, flip: int) -> None:
    stored = bytearray(envelope(body).encode(SEAL))
    stored[at % len(stored)] ^= flip
    assert missed(bytes(stored))


@given(st.binary(max_size=400), st.integers(0, 600))
def test_a_truncated_envelope_is_a_miss(body: bytes, length: int) -> None:
    stored = envelope(body).encode(SEAL)
    assert missed(stored[: min(length, len(stored) - 1)])


@given(st.binary(max_size=600))
def test_foreign_bytes_are_a_miss(stored: bytes) -> None:
    assert missed(stored)


def test_an_entry_sealed_with_another_key_is_forged() -> None:
    with pytest.raises(Forged):
        decode(envelope(b"{}").encode(Seal(b"another key")), SEAL)


def test_a_rotated_key_is_accepted_until_it_is_forgotten() -> None:
    seal = Seal(b"a key")
    old = envelope(b"{}").encode(seal)
    seal.use(b"a key", b"the next")  # not every process knows the next one yet
    assert envelope(b"{}").encode(seal) == old
    seal.use(b"the next", b"a key")
    new = envelope(b"{}").encode(seal)
    assert new != old
    assert decode(old, seal) == decode(new, seal) == envelope(b"{}")
    seal.use(b"the next but one", b"the next")
    with pytest.raises(Forged):
        decode(old, seal)


def sealed(packed: bytes, body_bytes: int) -> bytes:
    """What somebody who has the key could write."""
    return envelope(b"{}")._replace(codec=ZSTD, packed=packed, body_bytes=body_bytes).encode(SEAL)


def test_a_frame_that_declares_a_size_of_its_own_is_not_unpacked() -> None:
    bomb = zstandard.ZstdCompressor().compress(bytes(256 * 1024 * 1024))
    assert len(bomb) < 10_000
    assert zstandard.get_frame_parameters(bomb).content_size == 256 * 1024 * 1024
    assert decode(sealed(bomb, len(bomb) + 1), SEAL) is None


@pytest.mark.parametrize("claimed", [-1, 1])
def test_a_body_of_another_size_than_the_header_says_is_refused(claimed: int) -> None:
    body = b"ab" * 5000
    codec, packed = pack(body, 64)
    assert decode(sealed(packed, len(body) + claimed), SEAL) is not None
    with pytest.raises(ValueError, match="body"):
        unpack(codec, packed, len(body) + claimed)


@pytest.mark.parametrize("body_bytes", [0, 3, LARGEST_BODY_BYTES + 1])
def test_a_header_that_lies_about_its_body_is_a_miss(body_bytes: int) -> None:
    plain = envelope(b"{}")._replace(body_bytes=body_bytes).encode(SEAL)
    assert decode(plain, SEAL) is None
    packed = pack(b"ab" * 5000, 64)[1]
    assert decode(sealed(packed, body_bytes), SEAL) is None


def test_another_format_is_a_miss() -> None:
    stored = bytearray(envelope(b"{}").encode(SEAL))
    stored[2] += 1
    assert decode(bytes(stored), SEAL) is None


def test_large_bodies_are_compressed_and_incompressible_ones_are_not() -> None:
    assert pack(b"ab" * 1000, 1024)[0] == ZSTD
    assert pack(b"ab" * 100, 1024) == (0, b"ab" * 100)
    noise = bytes(etag_of(bytes([n % 256, n // 256]))[0] for n in range(2000))
    assert pack(noise, 1024) == (0, noise)


def test_the_times_are_the_servers() -> None:
    one = envelope(b"{}", created_us=1_000_000, ttl_ms=1000)
    assert not one.expired(1_999_999)
    assert one.expired(2_000_000)
    assert not one.eager(1_499_999)
    assert one.eager(1_500_000)


def test_a_header_tells_whether_somebody_built_the_entry_meanwhile() -> None:
    header = envelope(b"{}", created_us=0).encode(SEAL)[: HEADER.size]
    assert built_under(header, STAMP, HARD, CHECK, 10)
    assert not built_under(header, HARD, HARD, CHECK, 10)
    assert not built_under(header, STAMP, STAMP, CHECK, 10)
    assert not built_under(header, STAMP, HARD, STAMP[:8], 10)
    assert not built_under(header, STAMP, HARD, CHECK, 1_000_000)
    assert not built_under(b"", STAMP, HARD, CHECK, 10)


def test_the_longest_life_that_may_be_set_can_be_stored() -> None:
    longest = envelope(b"{}", ttl_ms=LONGEST_TTL_S * 1000)
    assert decode(longest.encode(SEAL), SEAL) == longest


@pytest.mark.parametrize("ttl", [timedelta(0), timedelta(seconds=LONGEST_TTL_S + 1), timedelta.max])
def test_a_life_that_cannot_be_stored_is_refused_where_it_is_declared(ttl: timedelta) -> None:
    async def load(*_: object) -> dict[EntryKey, object]:
        return {}

    with pytest.raises(DeclarationError, match="ttl of view found"):
        View("found", "shelf", load, ttl=ttl)
