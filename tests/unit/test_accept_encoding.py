"""Which clients get a body compressed as it is stored."""

from __future__ import annotations

import pytest

from stoker.cache.reading import Content, Reading, State, takes_zstd


@pytest.mark.parametrize("header", ["zstd", "gzip, deflate, br, zstd", "ZSTD;q=0.5", " zstd ; q=0.001, gzip"])
def test_who_names_zstd_gets_it(header: str) -> None:
    assert takes_zstd(header)


@pytest.mark.parametrize("header", ["", "gzip", "zstd;q=0", "gzip, zstd ; q=0.000", "x-zstd", "zstdish", "*"])
def test_who_does_not_name_it_or_refuses_it_gets_the_plain_body(header: str) -> None:
    assert not takes_zstd(header)


def test_other_bytes_of_one_body_have_another_tag() -> None:
    reading = Reading(Content.built(b"{}"), State.MISS)
    assert reading.etag_in(None) == reading.etag
    assert len({reading.etag, reading.etag_in("zstd"), reading.etag_in("gzip")}) == 3
    assert reading.etag_in("zstd").startswith(reading.etag[:-1])
