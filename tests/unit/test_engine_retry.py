"""Backoff, supervision and the bytes of a job: what needs no server."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.errors import InvalidJob, QueueUnavailable, Unavailable
from stoker.jobs import Job, KeepWarm, Lane, Refresh, Relay, RetryPolicy
from stoker.queue import wire
from stoker.worker.engine import retry
from stoker.worker.engine.cause import fingerprint
from stoker.worker.engine.letter import Letter
from stoker.worker.engine.running import Halt, Halted, bounded
from stoker.worker.engine.supervisor import LONGEST, delay_after, supervise


@given(st.integers(1, 10_000), st.integers(1, 10_000), st.integers(1, 86_400))
def test_a_delay_is_never_longer_than_declared(attempt: int, first_s: int, longest_s: int) -> None:
    first_s, longest_s = sorted((first_s, longest_s))
    policy = RetryPolicy(
        attempts=20_000, first=timedelta(seconds=first_s), longest=timedelta(seconds=longest_s)
    )
    decided = retry.decide(policy, Unavailable(), attempt)
    assert isinstance(decided, retry.Again)
    assert timedelta(0) <= decided.after <= retry.longest_delay(policy, attempt) <= policy.longest


def test_the_bound_doubles_with_each_run() -> None:
    policy = RetryPolicy(first=timedelta(seconds=1), longest=timedelta(seconds=6))
    bounds = [retry.longest_delay(policy, attempt).total_seconds() for attempt in range(1, 6)]
    assert bounds == [1, 2, 4, 6, 6]


def test_the_last_declared_attempt_exhausts_a_job_and_an_undeclared_error_fails_it() -> None:
    policy = RetryPolicy(attempts=2)
    assert isinstance(retry.decide(policy, OSError(), 1), retry.Again)
    assert retry.decide(policy, OSError(), 2) == retry.Dead("exhausted")
    assert retry.decide(policy, ValueError(), 1) == retry.Dead("failed")
    assert retry.decide(policy, asyncio.CancelledError(), 1) == retry.Dead("failed")


def test_a_crashed_part_is_back_within_a_second_however_often_it_crashed() -> None:
    assert all(0 < delay_after(crashes) <= LONGEST.total_seconds() for crashes in range(1, 2000))


async def test_supervision_goes_on_after_every_error_and_ends_with_a_return() -> None:
    raises: list[BaseException] = [QueueUnavailable("away"), ValueError("bug"), asyncio.CancelledError()]

    async def part() -> None:
        if raises:
            raise raises.pop()

    await supervise("part", part, first=timedelta(0), longest=timedelta(0))
    assert raises == []


async def test_supervision_ends_when_it_is_cancelled_even_if_the_part_makes_another_error_of_it() -> None:
    started = asyncio.Event()

    async def part() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ValueError("cleaning up went wrong") from None

    task = asyncio.create_task(supervise("part", part))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_halted_task_says_why() -> None:
    async def forever() -> str:
        await asyncio.Event().wait()
        return ""

    halt: asyncio.Future[Halt] = asyncio.get_running_loop().create_future()
    halt.set_result(Halt.LOST)
    with pytest.raises(Halted, match="lost"):
        await bounded(asyncio.create_task(forever()), 60, halt)


@given(st.text(max_size=30), st.text(max_size=30))
def test_what_is_encoded_is_decoded_and_its_marks_cannot_be_forged(scope_id: str, params: str) -> None:
    job = Refresh(view='{"flag":"00"', scope_id=scope_id, params=params)
    raw = wire.encode(job, 1_700_000_000_000)
    stored = wire.decode(raw)
    assert Refresh.model_validate(stored.payload) == job
    assert (stored.kind, stored.first_try, stored.flag) == (Refresh.kind, 1, wire.digest(job))
    assert raw.startswith(b'{"flag":"' + wire.digest(job).encode() + b'","alone":1,')


def test_a_job_says_whether_one_job_of_a_key_runs_at_a_time() -> None:
    assert b'"alone":0' in wire.encode(Relay(), 0)
    assert b'"alone":1' in wire.encode(KeepWarm(), 0)

    class Free(Job):
        kind = "free"
        lane = Lane.WARM

    assert b"flag" not in wire.encode(Free(), 0)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_job_or_an_error_of_the_payload(raw: bytes) -> None:
    with suppress(InvalidJob):
        wire.decode(raw)


def test_letters_of_one_cause_share_a_fingerprint_and_every_one_fits_its_row() -> None:
    def letter(job_id: str, text: str) -> Letter:
        made = Letter(job_id, Lane.WARM, "failed", 1, "", "", kind="k" * 200, payload={"n": 1})
        return made.caused_by(ValueError(text))

    one, other = letter("1", "project 1"), letter("x" * 100, "project \0 2")
    assert one.fingerprint == other.fingerprint != fingerprint("another")
    row = other.row()
    assert len(row["job_id"]) <= 64
    assert len(row["kind"]) <= 64
    assert "\0" not in row["error"] + row["traceback"]
