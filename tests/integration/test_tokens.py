"""Tokens in Postgres: they come and go while the API runs."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from stoker.api import create_app
from stoker.errors import DatabaseUnavailable
from stoker.migrate import migrate
from stoker.operations import tokens
from stoker.operations.audit import Actor
from stoker.operations.tokens import Tokens
from stoker.settings import Role, Settings, TokenSettings
from stoker.stoker import Stoker
from tests.library import domain
from tests.support.place import Place

WHO = Actor("test")
OURS = "token-of-the-settings-0123"


@pytest.fixture
async def stoker(place: Place, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stoker]:
    monkeypatch.setattr(tokens, "RELOAD_S", 0)
    await migrate(place.database_url, domain)
    async with Stoker.opened(place.settings(), domain) as opened:
        yield opened


def client(stoker: Stoker, host: str = "127.0.0.1", *own: TokenSettings) -> httpx.AsyncClient:
    assert isinstance(stoker.settings, Settings)
    api = stoker.settings.api.model_copy(update={"host": host, "tokens": own})
    app = create_app(stoker, stoker.settings.model_copy(update={"api": api}))
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app, client=("127.0.0.1", 4000)), base_url="http://127.0.0.1:8080"
    )


async def status(api: httpx.AsyncClient, token: str | None = None, path: str = "/api/cache/health") -> int:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return (await api.get(path, headers=headers)).status_code


async def test_a_token_counts_while_it_is_there_and_no_longer(stoker: Stoker) -> None:
    async with client(stoker) as api:
        assert await status(api) == 401, "without any token nobody is served"
        given = await tokens.add(stoker, WHO, "ann", Role.VIEWER)
        assert await status(api) == 401
        assert await status(api, given) == 200
        warmed = await api.post("/api/cache/warm", json={}, headers={"Authorization": f"Bearer {given}"})
        assert warmed.status_code == 403
        (listed,) = await tokens.list_tokens(stoker)
        assert listed.last_used_at is not None
        other = await tokens.add(stoker, WHO, "bob", Role.OPERATOR)
        await tokens.revoke(stoker, WHO, "ann")
        assert (await status(api, given), await status(api, other)) == (401, 200)


async def test_revoking_the_last_token_opens_nothing(stoker: Stoker) -> None:
    """Guard: `none_ever` asks for revoked rows, too."""
    given = await tokens.add(stoker, WHO, "ann", Role.OPERATOR)
    async with client(stoker) as api, client(stoker) as later:
        assert await status(api, given) == 200
        await tokens.revoke(stoker, WHO, "ann")
        for process in (api, later):
            assert (await status(process), await status(process, given)) == (401, 401)
            assert (await process.post("/api/jobs/lanes/warm/pause")).status_code == 401


Found = dict[str, TokenSettings]
Query = Callable[[AsyncEngine], Awaitable[Found]]


class HeldQuery:
    """The query of the table of tokens, held before it begins; `number` of them began."""

    def __init__(self, query: Query) -> None:
        self.started, self.release, self.number = asyncio.Event(), asyncio.Event(), 0
        self._query = query

    async def __call__(self, engine: AsyncEngine) -> Found:
        self.number += 1
        self.started.set()
        await self.release.wait()
        return await self._query(engine)


@pytest.fixture
def query(monkeypatch: pytest.MonkeyPatch) -> HeldQuery:
    held = HeldQuery(tokens._active)
    monkeypatch.setattr(tokens, "_active", held)
    monkeypatch.setattr(tokens, "RELOAD_S", 3600)
    return held


async def test_nobody_is_let_in_while_the_tokens_are_looked_up_for_another(
    stoker: Stoker, query: HeldQuery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five requests of a process that has just started: all wait for the one query that the first began.

    Guard: `load` moves `_reload_at` on only when the query came back, and joins it until then.
    """
    await tokens.add(stoker, WHO, "ann", Role.OPERATOR)
    came, load = 0, Tokens.load

    async def counted(known: Tokens) -> None:
        nonlocal came
        came += 1
        if came == 5:
            query.release.set()  # the four before it are through, or wait
        await load(known)

    monkeypatch.setattr(Tokens, "load", counted)
    async with client(stoker) as api:
        assert await asyncio.gather(*(status(api) for _ in range(5))) == [401] * 5
    assert query.number == 1


async def test_a_client_that_goes_away_ends_the_query_for_nobody(stoker: Stoker, query: HeldQuery) -> None:
    """Guard: the query is a task of its own."""
    given = await tokens.add(stoker, WHO, "ann", Role.VIEWER)
    known = Tokens((), stoker.engine)
    first = asyncio.create_task(known.load())
    await query.started.wait()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    query.release.set()
    await known.load()
    assert known.find(given) is not None
    assert (known.none_ever, query.number) == (False, 1)


async def test_a_query_that_began_before_a_change_does_not_hide_it(stoker: Stoker, query: HeldQuery) -> None:
    """Guard: `outdated` parts from the query that is under way."""
    known, read_before = Tokens((), stoker.engine), asyncio.Event()
    held = query._query

    async def late(engine: AsyncEngine) -> Found:
        found = await held(engine)
        await read_before.wait()
        return found

    query._query = late
    query.release.set()
    first = asyncio.create_task(known.load())
    await query.started.wait()
    given = await tokens.add(stoker, WHO, "ann", Role.VIEWER)
    known.outdated()
    query._query = held
    await known.load()
    read_before.set()
    await first
    await known.load()
    assert known.find(given) is not None


async def test_a_token_that_this_release_cannot_read_counts_for_nobody_and_hides_no_other(
    stoker: Stoker, caplog: pytest.LogCaptureFixture
) -> None:
    given = await tokens.add(stoker, WHO, "ann", Role.VIEWER)
    later = await tokens.add(stoker, WHO, "zoe", Role.VIEWER)
    async with stoker.engine.begin() as connection:
        await connection.execute(text("UPDATE stoker.api_tokens SET role = 'auditor' WHERE name = 'zoe'"))
    async with client(stoker) as api:
        with caplog.at_level(logging.WARNING):
            assert [await status(api, token) for token in (given, later, None)] == [200, 401, 401]
        assert "tokens.unreadable" in caplog.messages
        await tokens.revoke(stoker, WHO, "ann")
        assert [await status(api, token) for token in (given, later, None)] == [401, 401, 401]


@pytest.mark.parametrize("given", ["\ud800", "\0", "ann\udfff"])
async def test_what_cannot_be_written_as_text_is_no_token(stoker: Stoker, given: str) -> None:
    await tokens.add(stoker, WHO, "ann", Role.VIEWER)
    async with client(stoker) as api:
        body = json.dumps({"token": given})
        answer = await api.post("/api/session", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 401


async def test_its_console_session_ends_with_a_token(stoker: Stoker) -> None:
    given = await tokens.add(stoker, WHO, "ann", Role.OPERATOR)
    async with client(stoker) as api:
        assert (await api.post("/api/session", json={"token": given})).status_code == 200
        assert await status(api) == 200, "the cookie"
        await tokens.revoke(stoker, WHO, "ann")
        await tokens.add(stoker, WHO, "bob", Role.VIEWER)
        assert await status(api) == 401


async def test_tokens_of_the_settings_count_beside_them(stoker: Stoker) -> None:
    own = TokenSettings.model_validate({"name": "ann", "role": "operator", "token": OURS})
    hidden = await tokens.add(stoker, WHO, "ann", Role.VIEWER)
    other = await tokens.add(stoker, WHO, "bob", Role.VIEWER)
    async with client(stoker, "127.0.0.1", own) as api:
        assert await status(api, OURS) == 200
        assert await status(api, other) == 200
        assert await status(api, hidden) == 401, "the settings have the last word on a name"


async def test_facing_the_network_nobody_is_served_without_a_token(stoker: Stoker) -> None:
    async with client(stoker, "0.0.0.0") as api:  # noqa: S104 - as far as the settings know
        assert await status(api) == 401
        assert await status(api, path="/healthz") == 200, "probes have no token"
        assert await status(api, path="/readyz") == 200


async def test_while_postgres_is_away_known_tokens_count_and_unknown_ones_are_not_let_in(
    stoker: Stoker, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = await tokens.add(stoker, WHO, "ann", Role.VIEWER)
    known, fresh = Tokens((), stoker.engine), Tokens((), stoker.engine)
    await known.load()

    async def away(_: object) -> dict[str, TokenSettings]:
        raise DatabaseUnavailable("away")

    monkeypatch.setattr(tokens, "_active", away)
    await known.load()
    found = known.find(given)
    assert found is not None
    assert found.name == "ann"
    assert known.find("another") is None
    with pytest.raises(DatabaseUnavailable):
        await fresh.load()
