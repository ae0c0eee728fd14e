"""Strange values in real servers: lanes go on, every job ends or waits, the API answers, letters are kept."""

# ruff: noqa: F811 - fixtures are imported by name

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from hypothesis import Phase, given
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from stoker.api import create_app
from stoker.cache.verdicts import Verdict
from stoker.jobs import LANES, Lane
from stoker.migrate import migrate
from stoker.queue import wire
from stoker.queue.enqueue import Queue
from stoker.stoker import Stoker
from stoker.worker.engine import lane as lanes
from stoker.worker.engine.dead_letters import DeadLetters, Which
from stoker.worker.engine.letter import Letter
from tests.fuzz.cases import fuzzed, job_ids, numbers, scores, stored_jobs, texts
from tests.integration.test_api_contract import ENDLESS, QUERIES, filled
from tests.library import domain
from tests.support.callers import OPERATOR, OSCAR, bearing
from tests.support.engine_fixtures import known_jobs, queue, sql, stage  # noqa: F401
from tests.support.engine_stage import Elsewhere, Running, Stage, Work, eventually, running
from tests.support.place import Place

BEARER = bearing(OPERATOR)


@dataclass(frozen=True)
class Strange:
    """A job that a stranger has put into a lane, and what else lies about it."""

    job_id: bytes
    lane: Lane
    raw: bytes | None
    score: float
    retry: bytes | None
    rescues: bytes | None
    parked: bool


strange_jobs = st.builds(
    Strange,
    job_id=job_ids,
    lane=st.sampled_from([Lane.REFRESH, Lane.WARM]),
    raw=st.none() | stored_jobs,
    score=scores,
    retry=st.none() | numbers,
    rescues=st.none() | numbers,
    parked=st.booleans(),
)
marks = st.dictionaries(
    st.sampled_from(["clock", "refresh:rate", "warm:rate", "suspect:x", "waiting:0", "begun:0", "held:0"]),
    numbers,
)
concurrency = st.dictionaries(st.sampled_from(LANES), numbers)


@pytest.fixture
async def engine(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Running]:
    """A worker, for all the cases of a test."""
    monkeypatch.setattr(lanes, "OFFER_PARKED_S", 0)
    async with running(queue, queue_url, stage, sql, claim_life_s=0.6, rate_per_s=10_000) as started:
        yield started


@given(st.lists(strange_jobs, min_size=5, max_size=60), marks, concurrency)
@fuzzed(30)
async def test_no_lane_stops_and_every_job_ends_or_waits(
    queue: Queue,
    stage: Stage,
    engine: Running,
    jobs: list[Strange],
    written: dict[str, bytes],
    slots: dict[Lane, bytes],
) -> None:
    await _lay(queue, jobs, written, slots)
    before = len(stage.runs)
    ours = [Elsewhere(name="ours"), Work(name="ours")]
    await queue.enqueue_many(ours)
    await stage.until(lambda: stage.runs[before:].count(("ours", 1)) == len(ours))

    async def nothing_is_due() -> bool:
        redis: Any = queue.redis
        seconds, _ = await redis.time()
        names = [wire.queue_name(queue.settings, lane) for lane in LANES]
        due = [await redis.zcount(name, "-inf", seconds * 1000) for name in names]
        return not any(due) and not any([await redis.zcard(f"{name}:running") for name in names])

    await eventually(nothing_is_due)
    assert engine.engine.stuck() == []
    assert not engine.task.done()


async def _lay(
    queue: Queue, jobs: Sequence[Strange], written: dict[str, bytes], slots: dict[Lane, bytes]
) -> None:
    """Put it all there at once, and take away what was there before."""
    redis: Any = queue.redis
    prefix = queue.settings.prefix
    async with redis.pipeline(transaction=True) as pipe:
        for lane in LANES:
            name = wire.queue_name(queue.settings, lane)
            pipe.delete(name, f"{name}:parked", f"{name}:rate", f"{name}:totals")
        pipe.delete(wire.concurrency_name(queue.settings), f"{prefix}:clock")
        for key, value in written.items():
            pipe.set(f"{prefix}:{key}", value, px=60_000)
        for lane, number in slots.items():
            pipe.hset(wire.concurrency_name(queue.settings), wire.queue_name(queue.settings, lane), number)
        for one in jobs:
            job_id = prefix.encode() + one.job_id  # the server is shared
            rescues = f"{prefix}:rescues:".encode()
            for what, said in ((b"arq:job:", one.raw), (b"arq:retry:", one.retry), (rescues, one.rescues)):
                if said is not None:
                    pipe.set(what + job_id, said, px=60_000)
            name = wire.queue_name(queue.settings, one.lane)
            pipe.zadd(name, {job_id: one.score})
            if one.parked:
                pipe.zadd(f"{name}:parked", {job_id: one.score})
        await pipe.execute()


letters = st.builds(
    Letter,
    job_id=texts,
    lane=st.sampled_from(LANES),
    reason=st.just("failed"),
    attempts=st.integers(-(2**70), 2**70),
    error=texts,
    fingerprint=st.just("f" * 32),
    kind=texts,
    payload=st.none() | st.dictionaries(texts, texts | st.integers(), max_size=3),
    raw=st.none() | st.binary(max_size=60),
    traceback=st.none() | texts,
    enqueued_ms=st.integers(-(2**70), 2**70),
)


@given(letters)
@fuzzed(150)
async def test_every_letter_can_be_kept_under_an_id_of_its_own(sql: AsyncEngine, letter: Letter) -> None:
    kept = DeadLetters(sql)
    before = (await kept.count(Which())).letters
    await kept.bury(letter)
    after = (await kept.count(Which())).letters
    assert after - before in (0, 1)
    await kept.bury(letter)
    assert (await kept.count(Which())).letters == after, "burying twice is burying once"


@pytest.fixture
async def stoker(place: Place) -> AsyncIterator[Stoker]:
    settings = place.settings(api={"actions_per_minute": 10**6, "tokens": [OSCAR]})
    await migrate(place.database_url, domain)
    async with Stoker.opened(settings, domain) as opened:
        yield opened


@pytest.fixture
async def api(stoker: Stoker) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(stoker, stoker.settings), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://console.example") as opened:
        yield opened


@dataclass(frozen=True)
class Figures:
    """What a stranger has written where figures are kept."""

    hashes: dict[str, dict[bytes, bytes]]
    ranked: dict[bytes, float]
    waiting: dict[bytes, float]
    kinds: dict[str, str]


FIELDS = st.sampled_from(
    [
        b"hits",
        b"load_us",
        b"loads",
        b"applied_us",
        b"applied_0.1",
        b"miss_cold",
        b"state",
        b"done",
        b"total",
    ]
    + [b"updated_ms", b"last_at", b"stale_age_s", b"warm", b"wait|warm|0.1", b"run|warm|x|done|us", b"a|b|c"]
    + [verdict.value.encode() for verdict in Verdict]
)
HASHES = ("totals", "concurrency", "observed", "progress", "counters", "changes", "verdicts")
figures = st.builds(
    Figures,
    hashes=st.dictionaries(
        st.sampled_from(HASHES),
        st.dictionaries(FIELDS | st.binary(max_size=20), numbers, min_size=1, max_size=6),
    ),
    ranked=st.dictionaries(st.sampled_from([b'["label","shelf","a",""]', b"x"]) | st.binary(), scores),
    waiting=st.dictionaries(job_ids, scores, max_size=4),
    kinds=st.dictionaries(st.sampled_from(HASHES), texts.filter(bool), max_size=1),
)


@given(figures)
@fuzzed(15, phases=[Phase.generate])
async def test_whatever_stands_where_figures_are_kept_the_api_answers(
    stoker: Stoker, api: httpx.AsyncClient, found: Figures
) -> None:
    await _write(stoker, found)
    paths = (await api.get("/api/openapi.json")).json()["paths"]
    asked = [path for path, item in paths.items() if "get" in item and path != ENDLESS]
    answers = {}
    for path in [*asked, "/metrics"]:
        answer = await api.get(filled(path), params=QUERIES.get(path), headers=BEARER)
        answers[path] = answer.status_code
        if answer.status_code == 503:
            assert "WRONGTYPE" in answer.text or found.kinds, path
    assert {path: status for path, status in answers.items() if status >= 500 and status != 503} == {}


async def _write(stoker: Stoker, found: Figures) -> None:
    keys, prefix = stoker.cache.store.keys, stoker.queue.settings.prefix
    names = {
        "totals": f"{prefix}:warm:totals",
        "concurrency": wire.concurrency_name(stoker.queue.settings),
        "observed": f"{prefix}:observed",
        "progress": f"{prefix}:progress:none",
        "counters": keys.counters("label"),
        "changes": keys.counters("#changes"),
        "verdicts": keys.verdicts(datetime.now(UTC).strftime("%Y%m%d")),
    }
    redis: Any = stoker.queue.redis
    client = stoker.cache.store.client
    in_queue = {name for name in names if name in ("totals", "concurrency", "observed", "progress")}
    await redis.delete(*(names[name] for name in in_queue), wire.queue_name(stoker.queue.settings, Lane.WARM))
    await client.call(("DEL", *(names[name] for name in names.keys() - in_queue), keys.reads, keys.heat))
    for name, fields in found.hashes.items():
        if name in in_queue:
            await redis.hset(names[name], mapping=fields)
        else:
            await client.call(("HSET", names[name], *(part for pair in fields.items() for part in pair)))
    for name, text in found.kinds.items():
        raw = text.encode(errors="surrogatepass")
        await (redis.set(names[name], raw) if name in in_queue else client.call(("SET", names[name], raw)))
    for member, score in found.ranked.items():
        await client.call(("ZADD", keys.reads, repr(score), member), ("ZADD", keys.heat, repr(score), member))
    if found.waiting:
        await redis.zadd(wire.queue_name(stoker.queue.settings, Lane.WARM), found.waiting)
