"""Tokens in Postgres: they come and go while the API runs."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from jobs.errors import DatabaseUnavailable
from jobs.settings import load_settings
from jobs.stoker import Stoker
from tests.library import domain
from worker.api import create_app
from worker.migrate import migrate
from worker.operations import tokens
from worker.operations.audit import Actor
from worker.operations.tokens import Tokens
from worker.settings import Role, TokenSettings, WorkerSettings

WHO = Actor("test")
OURS = "token-of-the-settings-0123"


@pytest.fixture
async def stoker(
    database_url: str, queue_url: str, cache_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Stoker]:
    monkeypatch.setattr(tokens, "RELOAD_S", 0)
    settings = load_settings(
        WorkerSettings,
        database_url=database_url,
        redis_url=queue_url,
        cache_redis_url=cache_url,
        queue={"prefix": prefix},
        cache={"prefix": prefix},
    )
    await migrate(database_url, domain)
    async with Stoker.opened(settings, domain) as opened:
        yield opened


def client(stoker: Stoker, host: str = "127.0.0.1", *own: TokenSettings) -> httpx.AsyncClient:
    assert isinstance(stoker.settings, WorkerSettings)
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
        assert await status(api) == 200, "without any token this machine is served"
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
