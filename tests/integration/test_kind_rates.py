"""Kinds with a rate, on real engines: judged by the server's timestamps, not by a clock of the test."""

# ruff: noqa: F811 - fixtures are imported by name

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from stoker.errors import DeclarationError
from stoker.jobs import JOBS, Job, Lane
from stoker.queue import wire
from stoker.queue.enqueue import Queue
from stoker.worker.engine.claims import Claims
from tests.support.engine_fixtures import known_jobs, queue, sql, stage  # noqa: F401
from tests.support.engine_stage import Paced, Stage, Work, running, settled

W = Lane.WARM
SHARE_MS = 50


class Brisk(Work):
    kind = 'test."brisk"%.v1'
    rate_per_s = 1000 / SHARE_MS


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(JOBS, Brisk.kind, Brisk)


async def test_two_workers_keep_to_one_rate_and_others_do_not_wait(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun_ms: list[float] = []
    whole = Claims.claim

    async def noted(self: Claims, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - claim's
        found = await whole(self, *arguments, **options)
        paced = [claim for claim in found.claims if b"brisk" in (claim.payload or b"")]
        begun_ms.extend(claim.due_ms + claim.waited_s * 1000 for claim in paced)
        return found

    monkeypatch.setattr(Claims, "claim", noted)
    await queue.enqueue_many([Brisk(name=f"b{number}") for number in range(20)])
    async with running(queue, queue_url, stage, sql), running(queue, queue_url, stage, sql):
        await queue.enqueue_many([Work(name="free") for _ in range(50)])
        await settled(queue, W, done=70, ready=0, running=0)
    assert len(set(stage.runs)) == 21
    # What was not used is kept for 100 ms, two shares: in any time, so many shares and two more begin.
    begun_ms.sort()
    assert len(begun_ms) == 20
    for first, later in zip(begun_ms, begun_ms[3:], strict=False):
        assert later - first >= 2 * SHARE_MS - 1
    assert begun_ms[-1] - begun_ms[0] >= 18 * SHARE_MS - 1


async def test_a_paced_job_does_not_hold_up_its_lane(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    await queue.enqueue_many([Paced(name=f"p{number}") for number in range(300)])
    async with running(queue, queue_url, stage, sql, concurrency=1):
        await queue.enqueue_many([Work(name="free") for _ in range(20)])
        await settled(queue, W, done=21, running=0)
    assert stage.runs[0] == ("p0", 1)
    assert len(stage.runs) == 21
    line = f"{queue.settings.prefix}:{W}:fair:{wire.rate_mark(Paced)}"
    assert len(await queue.redis.lrange(line, 0, -1)) == 299  # type: ignore[misc]


@pytest.mark.parametrize("rate", [-1, 1 / 86_401, float("inf"), float("nan"), "5", True, None])
def test_a_rate_that_cannot_be_is_refused(rate: object) -> None:
    with pytest.raises(DeclarationError, match=r"job Wrong: `rate_per_s` must be 0 or from 0\.000012"):
        type("Wrong", (Work,), {"kind": "wrong.rate", "rate_per_s": rate, "__module__": __name__})


def test_a_rate_beside_a_fair_key_is_refused() -> None:
    with pytest.raises(DeclarationError, match=r"excludes fair_key.*give the kind a lane of its own"):

        class Wrong(Job):
            kind = "wrong.rate"
            lane = "mail"
            rate_per_s = 5

            def fair_key(self) -> str:
                return "a"
