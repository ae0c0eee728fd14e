"""Decoders raise what they declare and nothing else, whatever they are given."""

from __future__ import annotations

import json
from contextlib import suppress
from math import inf, isfinite
from typing import Any

import zstandard
from hypothesis import given
from hypothesis import strategies as st

from stoker import tracing
from stoker.cache.envelope import (
    FORMAT,
    HEADER,
    MAGIC,
    PLAIN,
    STAMP_BYTES,
    ZSTD,
    Envelope,
    Forged,
    Seal,
    built_under,
    decode,
    pack,
    read_builder,
    read_header,
    read_parent,
)
from stoker.cache.keys import parse_key, write_key
from stoker.cache.reading import Content
from stoker.errors import InvalidJob
from stoker.history.job_rows import storable
from stoker.history.recorder import Recorder
from stoker.jobs import JOBS, Job, Lane, parse
from stoker.numbers import real, whole
from stoker.outbox import scopes
from stoker.queue import wire
from stoker.redis.connection import pack as pack_commands
from stoker.rules import Invalidation
from stoker.worker.engine import verdict
from stoker.worker.engine.claims import MOST_SLOTS, Claimed, read_claimed, read_news
from stoker.worker.engine.depth import LaneDepth, read_lane
from stoker.worker.engine.letter import Letter
from stoker.worker.engine.verdict import ClaimedJob, Verdict
from tests.fuzz.cases import as_json, fuzzed, job_ids, json_values, kinds, numbers, stored_jobs
from tests.support.notes import Notes

SEAL = Seal(b"a key")
NOW_MS = 1_800_000_000_000
DOMAIN = Notes().domain
u32, u64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
counts = st.integers(-(2**63), 2**63 - 1)
scores = numbers | st.floats(allow_nan=False).map(lambda score: f"{score:.17g}".encode())
"""As a script passes one on."""
stamps = st.binary(min_size=STAMP_BYTES, max_size=STAMP_BYTES)
bodies = st.binary(max_size=300)
frames = st.one_of(
    bodies,
    bodies.map(lambda body: zstandard.ZstdCompressor(write_content_size=True).compress(body)),
    bodies.map(lambda body: zstandard.ZstdCompressor(write_content_size=False).compress(body)),
    st.tuples(bodies, st.integers(0, 40), st.binary(max_size=2)).map(
        lambda cut: pack(cut[0] * 3, 1)[1][: cut[1]] + cut[2] + pack(cut[0] * 3, 1)[1][cut[1] :]
    ),
)


@st.composite
def envelopes(draw: st.DrawFn) -> bytes:
    """Bytes whose header and seal are right, whatever they say, or have been sealed with another key."""
    header = HEADER.pack(
        draw(st.sampled_from([MAGIC, b"XX"])),
        draw(st.sampled_from([FORMAT, 0, 255])),
        draw(st.sampled_from([PLAIN, ZSTD, 2, 255])),
        *(draw(u64), draw(u32), draw(u32), draw(u32)),
        *(draw(st.binary(min_size=8, max_size=8)), draw(st.binary(min_size=8, max_size=8))),
        *(draw(stamps), draw(stamps)),
        draw(u32 | st.integers(0, 400)),
        *(draw(st.integers(0, 255)), draw(st.integers(0, 255))),
    )
    packed = draw(st.just(b"") | st.binary(max_size=20)) + draw(frames)
    seal = draw(st.sampled_from([SEAL, SEAL, SEAL, Seal(b"another key")]))
    return header + packed + seal.of(header + packed)


@given(envelopes() | st.binary(max_size=300), stamps, u64)
@fuzzed(700)
def test_an_envelope_is_one_or_a_miss_and_its_body_is_bytes_or_a_value_error(
    stored: bytes, stamp: bytes, now_us: int
) -> None:
    built_under(stored, stamp, stamp, b"k" * 8, now_us)
    read_header(stored)
    assert max(len(read_parent(stored)), len(read_builder(stored))) <= 255
    try:
        found = decode(stored, SEAL)
    except Forged:
        return
    if found is None:
        return
    assert isinstance(found, Envelope)
    assert found.expired(now_us) in (True, False)
    with suppress(ValueError):
        content = Content.stored(found)
        assert len(content.body) == found.body_bytes
        json.dumps(content.decoded)


@given(stored_jobs)
@fuzzed(1000)
def test_a_stored_job_is_one_or_is_refused(raw: bytes) -> None:
    with suppress(InvalidJob):
        stored = wire.decode(raw)
        assert 1 <= stored.first_try <= wire.MOST_TRIES
        assert 0 <= stored.enqueued_ms <= wire.LATEST_MS
        assert stored.flag.isascii()
        with tracing.resumed(stored.trace):
            json.dumps(stored.payload, allow_nan=False)


@given(kinds, json_values)
@fuzzed(500)
def test_arguments_are_a_job_or_are_refused(kind: Any, payload: Any) -> None:  # noqa: ANN401 - any JSON
    with suppress(InvalidJob):
        assert isinstance(parse(str(kind), payload), Job)


@given(
    st.lists(st.tuples(job_ids, st.none() | stored_jobs, scores, counts, counts, st.booleans()), max_size=3)
)
@fuzzed(1000)
def test_every_claim_is_judged_and_its_judgement_can_be_written(entries: list[tuple[Any, ...]]) -> None:
    claimed = read_claimed([NOW_MS, b"", *(list(entry) for entry in entries)])
    assert isinstance(claimed, Claimed)
    for claim in claimed.claims:
        assert 0 <= claim.due_ms <= NOW_MS
        assert isfinite(claim.waited_s)
        found = verdict.read(Lane.WARM, claim, JOBS)
        if isinstance(found, ClaimedJob):
            found = verdict.failed(found, ValueError("\ud800 \0"))
        check_can_be_written(found)
        check_can_be_written(verdict.quarantined(Lane.WARM, claim, ZeroDivisionError("\udfff")))
        note_its_end(claim.waited_s, found)


def check_can_be_written(found: Verdict) -> None:
    """Redis takes the end, Postgres the letter."""
    end = found.finish
    job_id = end.job_id.encode(errors="surrogateescape")
    pack_commands([("x", end.flag, end.error, end.state, " ".join(end.totals), job_id)])
    if found.letter is not None:
        for letter in (found.letter, found.letter.as_bytes()):
            check_can_be_stored(letter)


def check_can_be_stored(letter: Letter) -> None:
    """A row that Postgres takes; tests/fuzz/test_servers.py asks it."""
    row = letter.row()
    json.dumps(row["payload"], allow_nan=False)
    written = "".join(str(value) for value in row.values())
    assert "\0" not in written
    written.encode()
    assert len(row["job_id"]) <= 64
    assert len(row["kind"]) <= 64
    assert 0 <= row["attempts"] < 2**31


def note_its_end(waited_s: float, found: Verdict) -> None:
    """The history takes what became of it."""
    recorder = Recorder(DOMAIN, "w")
    recorder.job_started(Lane.WARM, found.kind, waited_s)
    recorder.job_ended(Lane.WARM, found.kind, found.outcome, 0.0)
    written = storable([vars(row) for row in recorder.take()])
    json.loads(written, parse_constant=lambda name: f"Postgres refuses {name}" + 1)  # type: ignore[operator]
    written.encode()


@given(
    scores | st.just(b""),
    st.lists(job_ids, max_size=3),
    st.lists(st.tuples(job_ids, counts), max_size=3),
    counts,
    numbers | st.just(b""),
    st.lists(job_ids, max_size=3),
)
@fuzzed(700)
def test_news_of_a_lane_are_read_whatever_they_say(
    due: bytes,
    lost: list[bytes],
    rescued: list[tuple[bytes, int]],
    parked: int,
    slots: bytes,
    cancel: list[bytes],
) -> None:
    flat = [part for pair in rescued for part in pair]
    news = read_news([due, lost, flat, parked, slots, cancel], NOW_MS)
    assert news.next_due_s is None or isfinite(news.next_due_s)
    assert news.slots is None or 1 <= news.slots <= MOST_SLOTS
    assert news.rescued.keys() == {one.decode(errors="surrogateescape") for one, _ in rescued}


@given(
    st.tuples(*[st.integers(0, 2**40)] * 4),
    scores | st.just(b""),
    numbers,
    st.lists(st.tuples(job_ids, numbers)),
)
@fuzzed(700)
def test_the_depth_of_a_lane_is_finite_whatever_lies_there(
    lengths: tuple[int, ...], oldest: bytes, slots: bytes, totals: list[tuple[bytes, bytes]]
) -> None:
    flat = [part for pair in totals for part in pair]
    found = read_lane(NOW_MS, [*lengths, oldest, 1, slots, flat])
    assert isinstance(found, LaneDepth)
    assert 0 <= found.oldest_ready_age_s < inf
    json.dumps(found.model_dump(), allow_nan=False)


@given(
    json_values.map(as_json)
    | st.binary(max_size=200)
    | st.lists(st.lists(json_values, max_size=6)).map(as_json)
)
@fuzzed(1000)
def test_the_scopes_of_an_event_are_scopes_or_are_refused(stored: bytes) -> None:
    for read in (scopes.read, lambda raw, domain: scopes.decode(json.loads(raw), domain)):
        with suppress(ValueError, TypeError, RecursionError if read is not scopes.read else ValueError):
            assert all(isinstance(one, Invalidation) for one in read(stored, DOMAIN))


@given(json_values.map(as_json) | st.binary(max_size=100))
@fuzzed(500)
def test_the_name_of_a_read_entry_is_one_or_none(member: bytes) -> None:
    found = parse_key(member)
    assert found is None or parse_key(write_key(found)) == found


@given(numbers | json_values)
@fuzzed(700)
def test_a_number_is_within_its_bounds(found: Any) -> None:  # noqa: ANN401 - whatever was written
    assert -5 <= whole(found, least=-5, most=7) <= 7
    assert -5 <= real(found, least=-5, most=7) <= 7
