"""The kept result of a job as operators and viewers see it: its text, or why there is none."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stoker import Job, JobContext, Lane, RetryPolicy, Stoker
from stoker.cli.jobs import draw_job
from stoker.errors import NotFound
from stoker.history.job_rows import JobHistory
from stoker.operations.jobs import detail
from stoker.operations.results import SHOWN_BYTES, ResultShown
from stoker.testing import drain
from tests.integration.test_history import row
from tests.library import domain as library
from tests.support.callers import OPERATOR, TOKENS, VIEWER, bearing, client
from tests.support.place import Place


class Write(Job):
    kind = "write"
    lane = "texts"
    keep_result = timedelta(hours=1)
    retry = RetryPolicy(attempts=1)
    text: str = ""


class Forgetful(Job):
    kind = "forgetful"
    lane = "texts"


def write(_: JobContext, job: Write) -> dict[str, str]:
    if job.text == "wrong":
        raise ValueError("it cannot be written")
    return {"text": job.text}


def forget(_: JobContext, __: Forgetful) -> str:
    return "lost in any case"


domain = replace(library, lanes=(Lane("texts"),), handlers={Write: write, Forgetful: forget})


@pytest.fixture
async def stoker(place: Place) -> AsyncIterator[Stoker]:
    async with Stoker.opened(place.settings(), domain) as stoker:
        yield stoker


async def shown(stoker: Stoker, job_id: str, *, whole: bool = True) -> ResultShown:
    found = (await detail(stoker, job_id, whole=whole)).result
    assert found is not None
    return found


async def add_run(stoker: Stoker, **about: object) -> None:
    await JobHistory(stoker.engine).add([row(kind="write", lane="texts", **about)])


async def test_a_kept_result_is_shown_to_operators_with_its_size_and_its_end(stoker: Stoker) -> None:
    asked = await stoker.enqueue(Write(text="ü\x1b[2J"))
    assert (await shown(stoker, asked.job_id)).state == "not_ended"
    await drain(stoker)
    found = await shown(stoker, asked.job_id)
    assert found.text == '{"text":"ü\\u001b[2J"}'
    assert found.size_bytes == len(found.text.encode())
    assert found.expires_at is not None
    assert timedelta(minutes=59) < found.expires_at - datetime.now(UTC) <= timedelta(hours=1)
    viewed = await shown(stoker, asked.job_id, whole=False)
    assert (viewed.text, viewed.size_bytes) == (None, found.size_bytes)
    assert viewed.says.endswith("Only operators see it.")


async def test_of_a_long_result_only_the_beginning_is_read(stoker: Stoker) -> None:
    asked = await stoker.enqueue(Write(text="x" * 900_000))
    await drain(stoker)
    found = await shown(stoker, asked.job_id)
    assert found.text is not None
    assert (len(found.text), found.size_bytes) == (SHOWN_BYTES, 900_011)
    assert found.says == "Kept: 900,011 bytes of JSON, of which the first 10,000 are shown."


async def test_why_there_is_no_result_is_said_as_far_as_it_is_known(stoker: Stoker) -> None:
    failing, forgetful = await stoker.enqueue(Write(text="wrong")), await stoker.enqueue(Forgetful())
    await drain(stoker, raises=False)
    assert (await shown(stoker, failing.job_id)).state == "nothing"
    await add_run(stoker, job_id="old", ended_at=datetime.now(UTC) - timedelta(hours=2))
    await add_run(stoker, job_id="new")
    await add_run(stoker, job_id="failed", outcome="dead", failed=True)
    await JobHistory(stoker.engine).add([row(kind="forgetful", lane="texts", job_id=forgetful.job_id)])
    for job_id, state, said in (
        ("old", "expired", "The result has expired: write keeps it for 1:00:00."),
        ("new", "lost", "The result is lost: write keeps it for 1:00:00, but the queue does not have it."),
        ("failed", "nothing", "The job has no result: its last run is dead."),
        (forgetful.job_id, "not_kept", "No result is kept: forgetful has no keep_result."),
    ):
        found = await shown(stoker, job_id)
        assert (found.state, found.says, found.text) == (state, said, None)
    await JobHistory(stoker.engine).add([row(job_id="warmed")])
    assert (await detail(stoker, "warmed")).result is None


async def test_a_result_is_shown_after_the_runs_of_its_job_were_forgotten(stoker: Stoker) -> None:
    asked = await stoker.enqueue(Write(text="kept"))
    await drain(stoker)
    found = await detail(stoker, asked.job_id)
    assert (found.kind, found.runs) == ("<unknown>", [])
    assert found.result is not None
    assert found.result.text == '{"text":"kept"}'
    with pytest.raises(NotFound):
        await detail(stoker, "another")


async def test_what_others_wrote_in_place_of_a_result_hides_no_job(stoker: Stoker) -> None:
    asked = await stoker.enqueue(Write())
    await drain(stoker)
    await add_run(stoker, job_id=asked.job_id)
    redis: Any = stoker.queue.redis
    (key,) = [key async for key in redis.scan_iter(f"*:result:{asked.job_id}")]
    await redis.set(key, b"\xff{\x1b[31m\n")
    assert (await shown(stoker, asked.job_id)).text == "\ufffd{\x1b[31m\n"
    await redis.delete(key)
    await redis.lpush(key, "no text")
    assert (await shown(stoker, asked.job_id)).state == "lost"


async def test_the_api_gives_the_text_to_operators_alone(stoker: Stoker, place: Place) -> None:
    settings = place.settings(api={"tokens": TOKENS})
    asked = await stoker.enqueue(Write(text="for operators"))
    await drain(stoker)
    async with client(stoker, settings) as api:
        for token, text in ((OPERATOR, '{"text":"for operators"}'), (VIEWER, None)):
            answer = await api.get(f"/api/jobs/{asked.job_id}", headers=bearing(token))
            assert answer.json()["result"]["text"] == text
            assert ("for operators" in answer.text) is (token == OPERATOR)


async def test_the_command_shows_a_result_without_acting_on_it(
    stoker: Stoker, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = await stoker.enqueue(Write(text="\x9b31m"))
    await drain(stoker)
    draw_job(await detail(stoker, asked.job_id))
    said = capsys.readouterr().out
    assert "Kept: 16 bytes of JSON." in said
    assert '{"text":"\\x9b31m"}' in said
    assert "\x9b" not in said
