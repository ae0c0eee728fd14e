"""Memory of entries in Redis over the seven views, against the plain JSON under a plain key."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import zstandard
from redis.asyncio import Redis
from sqlalchemy import text

from bench.figures import Figure
from bench.ground import Bench
from jobs.views import VIEWS
from stoker import EntryKey, Stoker

IDS = ("bytes",)
SCOPES = 25
"""Projects, and as many users, of one block."""
PARAMS = {"search": {"query": "pump"}}
OWNERS = text("SELECT id, owner_id FROM projects ORDER BY id LIMIT :count OFFSET :skip")


async def measure(bench: Bench) -> list[Figure]:
    """Entries and their stamps by MEMORY USAGE, as long as they live; every view once for each scope."""
    ours: list[float] = []
    theirs: list[float] = []
    shrunken: list[float] = []
    async with bench.stoker() as stoker, Redis.from_url(bench.urls.cache) as redis:
        for block in range(bench.scale.blocks):
            async with stoker.session() as session:
                rows = (
                    (await session.execute(OWNERS, {"count": SCOPES, "skip": block * SCOPES})).tuples().all()
                )
            kept: list[str] = []
            plain: list[str] = []
            for project, owner in rows:
                for key in _keys(stoker, project, owner):
                    reading = await stoker.read(key.view, key.scope.id, PARAMS.get(key.view), reader=owner)
                    name = f"plain:{key.view}:{key.scope.id}"
                    await redis.set(name, reading.body, ex=3600)
                    names = stoker.cache.store.keys.entry(key, stoker.domain.view(key.view).version)
                    kept += [names.entry, names.stamp, names.hard]
                    plain.append(name)
                    if key.view == "dashboard":
                        shrunken.append(len(zstandard.compress(reading.body, 3)) / len(reading.body))
            ours.append(await _memory(redis, dict.fromkeys(kept)) / len(plain))
            theirs.append(await _memory(redis, dict.fromkeys(plain)) / len(plain))
    note = f"stamps counted; a dashboard's own zstd ratio is {sum(shrunken) / len(shrunken):.2f}"
    return [Figure("bytes", "the plain JSON under a plain key", "bytes/entry", "<= 0.5", ours, theirs, note)]


def _keys(stoker: Stoker, project: int, owner: int) -> Sequence[EntryKey]:
    ids = {"project": project, "user": owner}
    return [stoker.domain.key(view.name, ids[view.scope], PARAMS.get(view.name)) for view in VIEWS]


async def _memory(redis: Redis, keys: Iterable[str]) -> float:
    pipe = redis.pipeline(transaction=False)
    for key in keys:
        pipe.memory_usage(key, samples=0)
    found = await pipe.execute()
    assert None not in found, "a key has gone"
    return float(sum(found))
