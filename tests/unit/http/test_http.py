"""Answers for web frameworks, against the tables of RFC 9110."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
import zstandard

import stoker.cache.reading
from stoker import (
    CommittedNotApplied,
    DatabaseUnavailable,
    Forbidden,
    InvalidParams,
    NotFound,
    Reading,
    SettingsError,
    State,
    StokerError,
)
from stoker.cache.envelope import ZSTD, Envelope, etag_of
from stoker.cache.reading import HEAVY_BYTES, Content
from stoker.http import answer, failure
from stoker.http.negotiation import chosen_coding, has_version, is_expected

SMALL, LARGE = b'{"a": 1}', json.dumps({"text": "page " * 1000}).encode()
TAG = '"abc"'


@dataclass
class Asked:
    method: str = "GET"
    headers: dict[str, str] = field(default_factory=dict)


def asked(method: str = "GET", **headers: str) -> Asked:
    return Asked(method, {name.replace("_", "-"): value for name, value in headers.items()})


def built(body: bytes) -> Reading:
    return Reading(Content.built(body), State.MISS, timedelta(seconds=3.9))


@pytest.fixture
def stored() -> Reading:
    """A reading whose body the cache holds as zstd."""
    packed = zstandard.ZstdCompressor(write_content_size=False).compress(LARGE)
    return Reading(Content(None, etag_of(LARGE), _envelope(packed)), State.HIT)


def _envelope(packed: bytes) -> Envelope:
    names = Envelope.__annotations__
    known = {"codec": ZSTD, "packed": packed, "body_bytes": len(LARGE), "etag": etag_of(LARGE)}
    return Envelope(**{name: known.get(name, 0) for name in names})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("header", "coding"),
    [
        ("", None),
        ("zstd", "zstd"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip", "gzip"),
        ("x-gzip", "gzip"),
        ("GZIP", "gzip"),
        ("deflate, br", None),
        ("*", "zstd"),
        ("zstd;q=0, *", "gzip"),
        ("zstd;q=0", None),
        ("zstd; q=0.0, gzip;q=0.5", "gzip"),
        ("zstd;q=0.2, gzip;q=0.8", "gzip"),
        ("gzip;q=0.5, identity", None),
        ("gzip;q=0.5, identity;q=0.5", "gzip"),
        ("identity;q=0, *;q=0", None),
        ("zstd;q=2, gzip", "gzip"),
        ("zstd;q=often", None),
        (",, ;q=1, gzip", "gzip"),
        ("gzip ; q=0.5", "gzip"),
        ("gzip\t;\tQ=0.001", "gzip"),
        ("gzip;q=1.", "gzip"),
        ("gzip;q=0.", None),
        ("gzip;q=0.000", None),
        ("gzip;q=0.1234", None),
        ("gzip;q=.5", None),
        ("gzip;q=-1", None),
        ("gzip;q=nan", None),
        ("gzip;q=", None),
        ("gzip;;q=1", None),
        ("gzip;q=1;q=0", None),
        ("identity;q=0", None),
        ("*;q=0", None),
        ("*;q=0, gzip", "gzip"),
        ("identity;q=0, gzip;q=0.001", "gzip"),
        ("identity;q=0, *", "zstd"),
        ("identity;q=0.5, *;q=0.4", None),
        ("*;q=0.5, identity", None),
        ("identity", None),
        ("zstd;q=0.1, identity;q=0.5", None),
        ("compress;q=0.9, gzip;q=0.1, identity;q=0.2", None),
        ("x-gzip;q=0, *;q=0.1", "zstd"),
        ("gzip-zstd, \xe9", None),
    ],
)
def test_the_content_coding_is_the_one_that_the_client_prefers(header: str, coding: str | None) -> None:
    assert chosen_coding(header, ("zstd", "gzip")) == coding


@pytest.mark.parametrize(
    ("header", "has"),
    [
        ("", False),
        ('"abc"', True),
        ('W/"abc"', True),
        ('"x", W/"abc"', True),
        ('"x,y","abc"', True),
        ("*", True),
        (" * ", True),
        ('"abcd"', False),
        ("abc", False),
        ('"*"', False),
        ('"\xe9", "abc"', True),
        ('"\xe9abc"', False),
        ('""', False),
        ('"abc', False),
        ('"x, "abc"', False),
        (',, "abc" ,', True),
        ('W/"*"', False),
        ("*, *", False),
        ('"' * 65_536, False),
    ],
)
def test_a_version_is_known_by_weak_comparison(header: str, has: bool) -> None:  # noqa: FBT001 - of a table
    assert has_version(header, TAG) is has


@pytest.mark.parametrize(
    ("header", "is_so"),
    [
        ("", True),
        ("*", True),
        ('"abc"', True),
        ('"x", "abc"', True),
        ('W/"abc"', False),
        ('"x"', False),
        ("abc", False),
        ('"\xe9"', False),
    ],
)
def test_a_version_is_expected_by_strong_comparison(header: str, is_so: bool) -> None:  # noqa: FBT001 - of a table
    assert is_expected(header, TAG) is is_so


def test_a_client_that_wants_another_version_gets_none() -> None:
    status, headers, body = answer(built(SMALL), asked(If_Match='"another"', If_None_Match="*"))
    assert (status, headers["Content-Length"], body) == (412, "0", b"")
    both = {"If_Match": built(SMALL).etag, "If_None_Match": built(SMALL).etag}
    assert answer(built(SMALL), asked(**both)).status == 304


def test_what_a_writer_is_answered_does_not_depend_on_versions() -> None:
    for method in ("POST", "PUT", "DELETE"):
        status, _, body = answer(built(SMALL), asked(method, If_None_Match="*", If_Match='"another"'))
        assert (status, body) == (200, SMALL)


@pytest.mark.parametrize("header", ["If-Modified-Since", "If-Unmodified-Since"])
def test_dates_count_for_nothing(header: str) -> None:
    """There is no date of the last change; and If-None-Match would go first (RFC 9110, 13.2.2)."""
    for date in ("Thu, 01 Jan 1970 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT", "then"):
        assert answer(built(SMALL), Asked(headers={header: date})).status == 200
        known = {header: date, "If-None-Match": built(SMALL).etag}
        assert answer(built(SMALL), Asked(headers=known)).status == 304
        assert answer(built(SMALL), Asked(headers=known | {"If-None-Match": '"x"'})).status == 200


def test_a_body_that_would_hold_up_the_loop_is_not_compressed(stored: Reading) -> None:
    envelope = _envelope(stored.content.zstd or b"")._replace(body_bytes=HEAVY_BYTES + 1)
    heavy = Reading(Content(b"x" * (HEAVY_BYTES + 1), b"tag", envelope), State.HIT)
    assert "Content-Encoding" not in answer(heavy, asked(Accept_Encoding="gzip")).headers
    assert answer(heavy, asked(Accept_Encoding="gzip, zstd")).headers["Content-Encoding"] == "zstd"


def test_a_body_that_goes_out_as_it_is_stored_is_not_unpacked(
    stored: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stoker.cache.reading, "unpack", None)
    assert answer(stored, asked(Accept_Encoding="zstd")).body is stored.content.zstd


def test_a_body_goes_out_with_what_keeps_it_private() -> None:
    status, headers, body = answer(built(SMALL), asked(), vary=("X-User",))
    assert (status, body) == (200, SMALL)
    assert headers == {
        "ETag": built(SMALL).etag,
        "Age": "3",
        "Cache-Control": "private, no-cache",
        "Vary": "Accept-Encoding, X-User",
        "X-Cache": "miss",
        "Content-Type": "application/json",
        "Content-Length": "8",
    }


def test_what_is_stored_as_zstd_goes_out_as_it_is_or_unpacked(stored: Reading) -> None:
    zstd = answer(stored, asked(Accept_Encoding="zstd"))
    packed = answer(stored, asked(Accept_Encoding="gzip"))
    plain = answer(stored, asked())
    assert zstd.body is stored.content.zstd
    assert gzip.decompress(packed.body) == plain.body == LARGE
    assert [one.headers.get("Content-Encoding") for one in (zstd, packed, plain)] == ["zstd", "gzip", None]
    assert len({one.headers["ETag"] for one in (zstd, packed, plain)}) == 3


def test_small_bodies_are_not_compressed() -> None:
    assert "Content-Encoding" not in answer(built(SMALL), asked(Accept_Encoding="gzip")).headers
    assert answer(built(LARGE), asked(Accept_Encoding="gzip")).headers["Content-Encoding"] == "gzip"


@pytest.mark.parametrize("taken", ["", "gzip", "zstd"])
def test_a_client_that_has_this_version_gets_no_body(stored: Reading, taken: str) -> None:
    first = answer(stored, asked(Accept_Encoding=taken))
    again = answer(stored, asked(Accept_Encoding=taken, If_None_Match=f'"other", {first.headers["ETag"]}'))
    assert (again.status, again.body) == (304, b"")
    assert again.headers["ETag"] == first.headers["ETag"]
    assert {"Cache-Control", "Vary"} < again.headers.keys()
    assert not {"Content-Length", "Content-Type", "Content-Encoding"} & again.headers.keys()


def test_head_is_the_answer_without_its_body(stored: Reading) -> None:
    got = answer(stored, asked(Accept_Encoding="gzip"))
    head = answer(stored, asked("HEAD", Accept_Encoding="gzip"))
    assert (head.status, head.headers, head.body) == (200, got.headers, b"")


@pytest.mark.parametrize(
    ("error", "status", "more"),
    [
        (InvalidParams("no such filter", field="params.x"), 422, {"field": "params.x"}),
        (Forbidden("not yours"), 403, {}),
        (NotFound("gone"), 404, {}),
        (DatabaseUnavailable("away"), 503, {}),
        (CommittedNotApplied(7, 1.5), 503, {"event_id": 7}),
    ],
)
def test_every_error_has_its_status(error: StokerError, status: int, more: dict[str, object]) -> None:
    found = failure(error)
    assert found.status == status
    assert json.loads(found.body) == {"error": type(error).__name__, "message": str(error), **more}
    assert found.headers.get("Retry-After") == ("1" if status == 503 else None)


def test_a_fault_of_the_application_tells_the_client_nothing_of_it() -> None:
    found = failure(SettingsError("REDIS_URL redis://secret@host is wrong"))
    assert found.status == 500
    assert b"secret" not in found.body


def test_a_message_that_utf8_cannot_encode_is_answered() -> None:
    assert json.loads(failure(NotFound("no \udcff")).body)["message"] == "no \udcff"
