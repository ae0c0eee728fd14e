"""While Postgres is silent each question of the console ends in words, and no other server's answer waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import httpx
import pytest

from stoker import Stoker, Warm, embedded
from stoker.settings import Settings
from tests.support.callers import OPERATOR, TOKENS, client
from tests.support.freezing import frozen
from tests.support.notes import Notes, write_notes
from tests.support.place import PATIENT_S, Place

SILENT_S = 1.0
SAID = "Postgres does not answer"
ASKED = {
    "id": "1",
    "kind": "note",
    "view": "detail",
    "job_id": "unknown",
    "lane": "warm",
    "name": "index.html",
}
LIMITED = ("/api/live", "/api/overview", "/api/cache/health", "/metrics", "/healthz", "/readyz")
"""Those that are limited by `api.probe_timeout_s`, and the stream, which has no end."""
OF_POSTGRES = (
    "/api/audit",
    "/api/cache/findings",
    "/api/cache/invalidated",
    "/api/cache/scope/events",
    "/api/events",
    "/api/events/{id}",
    "/api/history",
    "/api/jobs",
    "/api/jobs/dead",
    "/api/schedule",
    "/api/tokens",
    "/api/workers",
)
"""Some that nobody else can answer."""
OF_OTHERS = (
    "/api/cache/domain",
    "/api/cache/entries?by=read",
    "/api/cache/scope?kind=note&id=1&events=false",
    "/api/jobs?part=queue&state=deferred",
    "/api/jobs/batches",
)


@pytest.fixture
def settings(place: Place) -> Settings:
    """Nothing but `api.silent_after_s` ends a question in less than a minute."""
    return place.settings(
        api={"tokens": TOKENS, "silent_after_s": SILENT_S}, database={"connect_timeout_s": PATIENT_S}
    )


@pytest.fixture
async def stoker(settings: Settings) -> AsyncIterator[Stoker]:
    async with Stoker.opened(settings, Notes().domain) as opened:
        async with opened.session() as session, session.begin():
            await write_notes(session, 1)
        await opened.read("detail", 1, reader=7)
        yield opened


@pytest.fixture
async def caller(stoker: Stoker, settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with client(stoker, settings, OPERATOR) as asking:
        while not (await asking.get("/api/audit")).is_success:  # noqa: ASYNC110 - it may seem silent on a loaded machine
            await asyncio.sleep(0.1)
        yield asking


async def questions(caller: httpx.AsyncClient) -> list[str]:
    """The path of everything that a page may ask for."""
    paths = (await caller.get("/api/openapi.json")).json()["paths"]
    return [path for path, methods in paths.items() if "get" in methods and path not in LIMITED]


async def test_each_question_of_the_console_ends_in_words(
    caller: httpx.AsyncClient, servers: embedded.Embedded
) -> None:
    paths = await questions(caller)
    assert set(OF_POSTGRES) < set(paths)
    with frozen(servers.postgres):
        asked = (caller.get(path.format_map(ASKED), params=_given(path)) for path in paths)
        answers = dict(zip(paths, await asyncio.gather(*asked), strict=True))
    for path in OF_POSTGRES:
        assert answers[path].status_code == 503, (path, answers[path].text)
    for path, answer in answers.items():
        assert answer.status_code in (200, 404, 503), (path, answer.text)
        if answer.status_code == 503:
            assert answer.json()["message"].startswith(SAID), (path, answer.text)


def _given(path: str) -> dict[str, str]:
    names = {"/api/cache/scope": ("kind", "id"), "/api/cache/scope/events": ("kind", "id")}
    names["/api/cache/explain"] = ("view", "id")
    given = {name: ASKED[name] for name in names.get(path, ())}
    return {**given, "by": "read"} if path == "/api/cache/entries" else given


@pytest.mark.parametrize("path", OF_OTHERS)
async def test_what_other_servers_know_does_not_wait_for_postgres(
    stoker: Stoker, caller: httpx.AsyncClient, servers: embedded.Embedded, path: str
) -> None:
    await stoker.enqueue(Warm(), delay=timedelta(hours=1))
    with frozen(servers.postgres):
        answer = await caller.get(path)
    assert answer.is_success, answer.text
