"""Envelopes: what was stored comes back, and anything else is a miss."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker import EntryKey, View
from stoker.cache.envelope import (
    HEADER,
    PACKED_AT,
    STAMP_BYTES,
    ZSTD,
    Envelope,
    built_under,
    decode,
    etag_of,
    pack,
)
from stoker.cache.reading import Content
from stoker.errors import DeclarationError
from stoker.settings import LONGEST_TTL_S

STAMP, HARD, CHECK = b"s" * STAMP_BYTES, b"h" * STAMP_BYTES, b"k" * 8


def envelope(body: bytes, *, created_us: int = 10, ttl_ms: int = 1000) -> Envelope:
    codec, packed = pack(body, 64)
    return Envelope(
        codec, created_us, ttl_ms, ttl_ms // 2, 3, etag_of(body), CHECK, STAMP, HARD, len(body), packed
    )


@given(st.binary(max_size=5000))
def test_a_body_survives_being_stored(body: bytes) -> None:
    stored = envelope(body).encode()
    read = decode(stored)
    assert read == envelope(body)
    assert Content.stored(read).body == body


@given(st.binary(max_size=400), st.integers(0, 600), st.integers(1, 255))
def test_one_damaged_byte_makes_a_miss(body: bytes, at: int, flip: int) -> None:
    stored = bytearray(envelope(body).encode())
    stored[at % len(stored)] ^= flip
    assert decode(bytes(stored)) is None


@given(st.binary(max_size=400), st.integers(0, 600))
def test_a_truncated_envelope_is_a_miss(body: bytes, length: int) -> None:
    stored = envelope(body).encode()
    assert decode(stored[: min(length, len(stored) - 1)]) is None


@given(st.binary(max_size=600))
def test_foreign_bytes_are_a_miss(stored: bytes) -> None:
    assert decode(stored) is None


def test_another_format_is_a_miss() -> None:
    stored = bytearray(envelope(b"{}").encode())
    stored[2] += 1
    assert decode(bytes(stored)) is None


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
    header = envelope(b"{}", created_us=0).encode()[: HEADER.size]
    assert built_under(header, STAMP, HARD, CHECK, 10)
    assert not built_under(header, HARD, HARD, CHECK, 10)
    assert not built_under(header, STAMP, STAMP, CHECK, 10)
    assert not built_under(header, STAMP, HARD, STAMP[:8], 10)
    assert not built_under(header, STAMP, HARD, CHECK, 1_000_000)
    assert not built_under(b"", STAMP, HARD, CHECK, 10)
    assert HEADER.size < PACKED_AT


def test_the_longest_life_that_may_be_set_can_be_stored() -> None:
    longest = envelope(b"{}", ttl_ms=LONGEST_TTL_S * 1000)
    assert decode(longest.encode()) == longest


@pytest.mark.parametrize("ttl", [timedelta(0), timedelta(seconds=LONGEST_TTL_S + 1), timedelta.max])
def test_a_life_that_cannot_be_stored_is_refused_where_it_is_declared(ttl: timedelta) -> None:
    async def load(*_: object) -> dict[EntryKey, object]:
        return {}

    with pytest.raises(DeclarationError, match="ttl of view found"):
        View("found", "shelf", load, ttl=ttl)
