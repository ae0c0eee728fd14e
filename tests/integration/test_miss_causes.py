"""Why a read missed, compared with what the server itself counts: `evicted` makes operators buy memory."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import BaseModel
from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError
from sqlalchemy.ext.asyncio import AsyncSession

from stoker import (
    Access,
    Asked,
    Domain,
    EntryKey,
    Invalidation,
    NotFound,
    Reading,
    Scope,
    ScopeKind,
    State,
    Stoker,
    View,
)
from stoker.cache.reading import Miss
from stoker.embedded.process import Server
from stoker.embedded.valkey import Valkey
from stoker.operations.figures import view_counters
from tests.support.place import Place

LARGE = 200_000
"""Bytes of an entry: so much more than its stamps that evicting it is enough."""


class Page(BaseModel):
    number: int = 1


async def load(_session: AsyncSession, keys: Sequence[EntryKey]) -> Mapping[EntryKey, str]:
    return dict.fromkeys(keys, random.Random(0).randbytes(LARGE).hex())


async def fail(_session: AsyncSession, keys: Sequence[EntryKey]) -> Mapping[EntryKey, str]:
    raise RuntimeError(keys)


async def find_nothing(_session: AsyncSession, _keys: Sequence[EntryKey]) -> Mapping[EntryKey, str]:
    return {}


ORDER = ScopeKind("order")
DOMAIN = Domain(
    name="causes",
    scopes=(ORDER,),
    views=(
        View("page", ORDER, load, access=Access.ANYONE),
        View("failing", ORDER, fail, access=Access.ANYONE),
        View("missing", ORDER, find_nothing, access=Access.ANYONE),
        View("search", ORDER, load, params=Page, access=Access.ANYONE),
    ),
    rules=(),
)


async def cause(stoker: Stoker, view: str, **params: int) -> Miss | None:
    reading = await stoker.read(view, 7, params or None)
    assert (reading.state is State.HIT) == (reading.cause is None)
    return reading.cause


@pytest.fixture(scope="module")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A cache Redis of these tests' own, because they fill it and restart it; it saves on request."""
    folder = tmp_path_factory.mktemp("own", numbered=True)
    with tempfile.TemporaryDirectory(prefix="own-") as sockets:
        options = ["--maxmemory-policy", "volatile-ttl", "--maxmemory-samples", "64", "--save", ""]
        server = Valkey("cache", folder / "data", Path(sockets), folder / "log", options)
        server.start()
        yield server
        server.stop()


@pytest.fixture
def own_place(place: Place, own_cache: Valkey) -> Place:
    return replace(place, cache_url=own_cache.url)


class Counted:
    """What the server has counted since the test began."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis

    async def begin(self) -> None:
        await self.redis.flushall()
        await self.redis.config_resetstat()

    async def __call__(self) -> tuple[int, int]:
        stats = await self.redis.info("stats")
        return stats["evicted_keys"], stats["expired_keys"]


@pytest.fixture
async def counted(own_cache: Valkey) -> AsyncIterator[Counted]:
    async with Redis.from_url(own_cache.url) as redis:
        found = Counted(redis)
        await found.begin()
        yield found


def stored_as(stoker: Stoker, view: str = "page") -> str:
    return stoker.cache.store.keys.entry(EntryKey(view, Scope("order", "7"))).entry


async def evict(redis: Redis, name: str) -> None:
    """Take memory away until the server has evicted the key that would end first, which is large."""
    used = (await redis.info("memory"))["used_memory"]
    await redis.config_set("maxmemory", used - LARGE // 2)
    with suppress(OutOfMemoryError):
        await redis.set("more", "x", ex=10**6)
    await redis.config_set("maxmemory", 0)
    assert not await redis.exists(name)


async def test_an_evicted_entry_is_told_from_one_that_never_was(own_place: Place, counted: Counted) -> None:
    async with Stoker.opened(own_place.settings(cache={"near_bytes": 0}), DOMAIN) as stoker:
        assert await cause(stoker, "page") is Miss.COLD
        assert await cause(stoker, "page") is None
        assert await counted() == (0, 0)
        await evict(counted.redis, stored_as(stoker))
        assert (await counted())[0] == 1
        assert await cause(stoker, "page") is Miss.EVICTED
        assert await cause(stoker, "page") is None


async def test_evicted_entries_are_told_when_many_are_read_at_once(
    own_place: Place, counted: Counted
) -> None:
    async with Stoker.opened(own_place.settings(cache={"near_bytes": 0}), DOMAIN) as stoker:
        await cause(stoker, "page")
        await evict(counted.redis, stored_as(stoker))
        asked = [Asked("page", 7), Asked("page", 8)]
        readings = await stoker.read_many(asked)
        assert [one.cause for one in readings if isinstance(one, Reading)] == [Miss.EVICTED, Miss.COLD]


async def test_what_was_built_since_the_lookup_was_not_evicted(own_place: Place, counted: Counted) -> None:
    async with Stoker.opened(own_place.settings(cache={"near_bytes": 0}), DOMAIN) as stoker:
        await counted.redis.set("other", "x" * LARGE, ex=5)
        await evict(counted.redis, "other")
        await cause(stoker, "page")  # another process has built it between a lookup and the question
        names = stoker.cache.store.keys.entry(EntryKey("page", Scope("order", "7")))
        assert await stoker.cache.store.absent_because([names]) == [Miss.COLD]


async def test_what_was_removed_by_hand_was_not_evicted(own_place: Place, counted: Counted) -> None:
    async with Stoker.opened(own_place.settings(cache={"near_bytes": 0}), DOMAIN) as stoker:
        await cause(stoker, "page")
        assert await counted.redis.unlink(stored_as(stoker)) == 1
        assert await cause(stoker, "page") is Miss.COLD
        assert (await counted())[0] == 0


async def test_what_could_not_be_built_or_is_being_built_was_not_evicted(
    own_place: Place, counted: Counted
) -> None:
    """Each leaves a stamp without an entry, on a server that has evicted something else."""
    async with Stoker.opened(own_place.settings(cache={"near_bytes": 0}), DOMAIN) as stoker:
        await counted.redis.set("other", "x" * LARGE, ex=5)
        await evict(counted.redis, "other")
        assert (await counted())[0] == 1
        for _ in range(2):
            with pytest.raises(RuntimeError):
                await stoker.read("failing", 7)
            with pytest.raises(NotFound):
                await stoker.read("missing", 7)
        readings = await asyncio.gather(*(stoker.read("page", 7) for _ in range(5)))
        assert {reading.cause for reading in readings} == {Miss.COLD}
        await stoker.accounting.flush(stoker.cache.store.client, stoker.cache.store.keys)
        for view, found in (await view_counters(stoker)).items():
            assert f"miss_{Miss.EVICTED}" not in found, view


async def test_an_entry_past_its_life_is_expired_and_one_that_the_server_removed_is_cold(
    own_place: Place, counted: Counted
) -> None:
    for fail_safe_s, wanted, expired in ((600, Miss.EXPIRED, 0), (0, Miss.COLD, 1)):
        await counted.begin()
        settings = own_place.settings(
            cache={"near_bytes": 0, "ttl_s": {"page": 0.2}, "fail_safe_s": fail_safe_s}
        )
        async with Stoker.opened(settings, DOMAIN) as stoker:
            await cause(stoker, "page")
            await asyncio.sleep(0.25)  # its life, which is what is tested
            assert await cause(stoker, "page") is wanted
            assert await counted() == (0, expired)


async def test_an_invalidated_entry_is_told_from_one_of_an_earlier_run_of_the_server(
    own_place: Place, counted: Counted, own_cache: Valkey
) -> None:
    async with Stoker.opened(own_place.settings(cache={"near_bytes": 0}), DOMAIN) as stoker:
        await cause(stoker, "page")
        await stoker.invalidate_now([Invalidation(Scope("order", "7"))])
        assert await cause(stoker, "page") is Miss.INVALIDATED
        await counted.redis.save()
        own_cache.kill()
        own_cache.start()
        assert await cause(stoker, "page") is Miss.RESTARTED
        assert await cause(stoker, "page") is None


async def test_other_parameters_are_cold_though_the_stamp_that_they_share_is_there(
    own_place: Place, counted: Counted
) -> None:
    async with Stoker.opened(own_place.settings(cache={"near_bytes": 0}), DOMAIN) as stoker:
        await counted.redis.set("other", "x" * LARGE, ex=5)
        await evict(counted.redis, "other")
        assert await cause(stoker, "search", number=1) is Miss.COLD
        assert await cause(stoker, "search", number=2) is Miss.COLD
        assert await cause(stoker, "search", number=2) is None
