"""Why a read missed: `evicted` makes operators buy memory, so it is said only where it is certain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import BaseModel
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncSession

from stoker import Access, Domain, EntryKey, Scope, ScopeKind, Stoker, View
from stoker.cache.reading import Miss, State
from tests.support.place import Place


class Page(BaseModel):
    number: int = 1


async def load(_session: AsyncSession, keys: Sequence[EntryKey]) -> Mapping[EntryKey, str]:
    return dict.fromkeys(keys, "found")


ORDER = ScopeKind("order")
DOMAIN = Domain(
    name="causes",
    scopes=(ORDER,),
    views=(
        View("page", ORDER, load, access=Access.ANYONE),
        View("search", ORDER, load, params=Page, access=Access.ANYONE),
    ),
    rules=(),
)


async def cause(stoker: Stoker, view: str, **params: int) -> Miss | None:
    reading = await stoker.read(view, 7, params or None)
    assert (reading.state is State.HIT) == (reading.cause is None)
    return reading.cause


async def evict(stoker: Stoker, place: Place, view: str) -> None:
    """As the server does it to make room: the entry goes, its stamps stay."""
    entry = stoker.cache.store.keys.entry(EntryKey(view, Scope("order", "7"))).entry
    async with Redis.from_url(place.cache_url) as redis:
        assert await redis.unlink(entry) == 1


async def test_an_evicted_entry_is_told_from_one_that_never_was(place: Place) -> None:
    async with Stoker.opened(place.settings(cache={"near_bytes": 0}), DOMAIN) as stoker:
        assert await cause(stoker, "page") is Miss.COLD
        assert await cause(stoker, "page") is None
        await evict(stoker, place, "page")
        assert await cause(stoker, "page") is Miss.EVICTED


async def test_other_parameters_are_cold_though_the_stamp_that_they_share_is_there(place: Place) -> None:
    async with Stoker.opened(place.settings(cache={"near_bytes": 0}), DOMAIN) as stoker:
        assert await cause(stoker, "search", number=1) is Miss.COLD
        assert await cause(stoker, "search", number=2) is Miss.COLD
        assert await cause(stoker, "search", number=2) is None
