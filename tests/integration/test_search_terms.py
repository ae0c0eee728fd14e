"""A viewer is not shown the parameters of entries, because they hold what people search for."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import event, text

from stoker.history.job_rows import Filter, JobHistory
from stoker.migrate import migrate
from stoker.stoker import Stoker
from tests.integration.test_history import row
from tests.library import domain
from tests.support.callers import OPERATOR, TOKENS, VIEWER, client
from tests.support.place import Place

PATHS = ("/api/cache/entries?limit=20", "/api/cache/scope?kind=shelf&id=A-1")


@pytest.mark.parametrize(("token", "shown"), [(VIEWER, False), (OPERATOR, True)])
async def test_search_terms_are_shown_to_operators_only(place: Place, token: str, *, shown: bool) -> None:
    await migrate(place.database_url, domain)
    settings = place.settings(api={"tokens": TOKENS})
    async with Stoker.opened(settings, domain) as stoker:
        async with stoker.session() as session, session.begin():
            await session.execute(text("INSERT INTO shelves (id, label) VALUES ('A-1', 'Monsters')"))
        for limit in (41, 42, 43):
            await stoker.read("titles", "A-1", {"limit": limit})
        await stoker.accounting.flush(stoker.cache.store.client, stoker.cache.store.keys)
        async with client(stoker, settings, token) as api:
            for path in PATHS:
                answer = await api.get(path)
                searched = [one["params"] for one in answer.json()["entries"] if one["params"]]
                assert len(set(searched)) >= 3, "entries can be told apart all the same"
                assert any("42" in one for one in searched) == shown, path


async def test_a_listing_asks_postgres_for_what_it_shows(place: Place) -> None:
    """Arguments may be 64 KB each: a listing reads no more of them than the view that is refreshed."""
    async with Stoker.opened(place.settings(), domain) as stoker:
        history = JobHistory(stoker.engine)
        await history.add([row(arguments={"large": "x" * 60_000})])
        asked: list[str] = []
        event.listen(
            stoker.engine.sync_engine,
            "before_cursor_execute",
            lambda _, __, statement, *___: asked.append(statement),
        )
        (listed,) = await history.list(Filter(), limit=10)
        (whole,) = await history.list(Filter(), limit=10, arguments=True)
    assert listed.arguments is None
    assert whole.arguments == {"large": "x" * 60_000}
    assert not re.search(r"job_history\.arguments(?! ->> )", asked[0])
