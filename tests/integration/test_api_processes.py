"""Several API processes on one database and one queue: sessions end and rates count in all of them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from stoker.api.rates import Rate
from stoker.console.sessions import Session, Sessions
from stoker.errors import DatabaseUnavailable
from stoker.operations.tokens import Tokens
from stoker.settings import Settings, load_settings
from stoker.stoker import Stoker
from tests.support.callers import FROM_PAGE, OPERATOR, OSCAR, client, sign_in
from tests.support.notes import Notes
from tests.support.place import Place

NOWHERE = "redis://127.0.0.1:1"


@pytest.fixture
def settings(place: Place) -> Settings:
    return place.settings(api={"actions_per_minute": 4, "tokens": [OSCAR]})


@asynccontextmanager
async def process(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """The API with connections of its own, as another process has them."""
    async with Stoker.opened(settings, Notes().domain) as stoker, client(stoker, settings) as opened:
        yield opened


async def test_who_signs_out_in_one_process_is_signed_out_in_all(settings: Settings) -> None:
    async with process(settings) as one, process(settings) as other:
        await sign_in(one)
        kept = {"Cookie": "; ".join(f"{name}={value}" for name, value in one.cookies.items())}
        assert (await other.get("/api/overview", headers=kept)).status_code == 200
        left = await one.delete("/api/session", headers=FROM_PAGE)
        assert left.status_code == 200
        assert (await other.get("/api/overview", headers=kept)).status_code == 401
        async with process(settings) as later:
            assert (await later.get("/api/overview", headers=kept)).status_code == 401
        await sign_in(other)
        assert (await other.get("/api/overview")).status_code == 200, "others go on"


async def test_what_is_known_of_ended_sessions_is_forgotten_when_they_would_have_ended(
    settings: Settings,
) -> None:
    async with Stoker.opened(settings, Notes().domain) as stoker:
        sessions = Sessions(stoker.engine, stoker.queue, Tokens(settings.api.tokens, stoker.engine), 60, 60)
        token, soon = settings.api.tokens[0], int(time.time()) + 60
        for number, until in enumerate((1, 1, soon, soon)):
            await sessions.end(Session(token, until, str(number)))
        async with stoker.engine.connect() as connection:
            assert await connection.scalar(text("SELECT count(*) FROM stoker.console_sessions_ended")) == 2


async def test_a_session_goes_on_while_postgres_is_away_and_ends_where_it_was_ended(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Stoker.opened(settings, Notes().domain) as stoker:
        sessions = Sessions(stoker.engine, stoker.queue, Tokens(settings.api.tokens, stoker.engine), 60, 60)
        cookies = [(await sessions.begin(settings.api.tokens[0]))[0] for _ in range(2)]
        monkeypatch.setattr(AsyncEngine, "connect", _away)
        monkeypatch.setattr(AsyncEngine, "begin", _away)
        first = await sessions.read(cookies[0])
        assert first is not None
        with pytest.raises(DatabaseUnavailable):
            await sessions.end(first)
        assert await sessions.read(cookies[0]) is None
        assert await sessions.read(cookies[1]) is not None


def _away(_: AsyncEngine) -> None:
    raise ConnectionRefusedError("away")


async def test_guessing_tokens_is_limited_over_all_processes_together(settings: Settings) -> None:
    async with process(settings) as one, process(settings) as other:
        answers = [await sign_in(page, "not-the-right-token") for page in (one, other, one, other, one)]
        assert [answer.status_code for answer in answers] == [401] * 5
        for page in (one, other):
            refused = await sign_in(page, "another-wrong-token")
            assert refused.status_code == 429
            assert 0 < int(refused.headers["retry-after"]) <= 6


async def test_acting_is_limited_over_all_processes_together(settings: Settings) -> None:
    body = {"kind": "note", "id": 7}
    headers = {"Authorization": f"Bearer {OPERATOR}"}
    async with process(settings) as one, process(settings) as other:
        codes = [
            (await page.post("/api/cache/invalidate", json=body, headers=headers)).status_code
            for page in (one, other) * 4
        ]
    assert codes == [202] * 5 + [429] * 3


async def test_one_rate_does_not_use_up_another_and_one_caller_not_anothers(settings: Settings) -> None:
    async with Stoker.opened(settings, Notes().domain) as stoker:
        signing, acting = (Rate(stoker.queue, what, 4) for what in ("sign_in", "action"))
        for _ in range(5):
            assert await signing.wait_s("a") == 0
        assert await signing.wait_s("a") > 0
        assert (await signing.wait_s("b"), await acting.wait_s("a")) == (0, 0)
        lives_ms = [
            await stoker.queue.redis.pttl(key)
            async for key in stoker.queue.redis.scan_iter(f"{settings.queue.prefix}:rate:*")
        ]
        assert len(lives_ms) == 3
        assert all(0 < life_ms <= 80_000 for life_ms in lives_ms), "nothing is kept past its use"


async def test_while_the_queue_is_away_each_process_counts_by_itself(settings: Settings) -> None:
    away = settings.model_copy(update={"redis_url": load_settings(redis_url=NOWHERE).redis_url})
    async with process(away) as one, process(away) as other:
        for page in (one, other):
            codes = [(await sign_in(page, "not-the-right-token")).status_code for _ in range(6)]
            assert codes == [401] * 5 + [429]
