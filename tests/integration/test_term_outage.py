"""While Postgres is away, a process that serves by a term learns nothing, and its loop does not break."""

from __future__ import annotations

from sqlalchemy import make_url

from stoker import Stoker
from stoker.chaos.link import through
from tests.support.notes import Notes
from tests.support.place import Place
from tests.support.traps import link_to_postgres


async def test_an_outage_of_postgres_does_not_break_the_loop_of_the_term(place: Place) -> None:
    link = await link_to_postgres(make_url(place.database_url))
    led = through(link, make_url(place.database_url)).render_as_string(hide_password=False)
    settings = Place(led, place.queue_url, place.cache_url, place.prefix).settings(cache={"term_ms": 100})
    try:
        async with Stoker.opened(settings, Notes().domain) as stoker:
            link.cut()
            await stoker._parts.learn_term()
    finally:
        await link.close()
