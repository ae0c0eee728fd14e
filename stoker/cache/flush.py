"""Unlinking the stamps of views in every scope: for changes that cannot say which scopes they touch.

Goes through all keys of the server, so it is for rare events. A stamp that is made meanwhile belongs to a
load that begins after the commit, and SCAN returns every key that is there from its start to its end.
"""

from __future__ import annotations

from collections.abc import Collection

from stoker.cache.store import Store
from stoker.errors import CacheUnavailable
from stoker.redis.cache import CacheClient

ATTEMPTS = 5
"""How often the keys of a cluster are gone through while its slots are moved."""
SCANNED = 1000
"""Keys that one call to the server goes through."""


async def unlink_every_scope(store: Store, views: Collection[str], *, hard: bool) -> set[bytes]:
    """Unlink the stamps of these views, or of all where none is named, in all scopes.

    `hard` unlinks the hard stamps too, which all views of a scope share. Returns the runs of the servers that
    acknowledged it, as Store.unlink does; raises CacheUnavailable.
    """
    wanted = ({*views, "hard"} if hard else set(views)) if views else None
    runs = set[bytes]()
    for _ in range(ATTEMPTS):
        # A stamp that is moved to a node which was gone through already would be missed.
        before = await store.client.layout()
        for server in await store.client.primaries():
            runs |= await _unlink_all(store, server, wanted)
        if before is not None and before == await store.client.layout():
            return runs
    raise CacheUnavailable(
        "slots of the cache Redis are being moved: stamps in every scope cannot be found now"
    )


async def _unlink_all(store: Store, server: CacheClient, wanted: Collection[str] | None) -> set[bytes]:
    """The stamps of these names on one server, or all of them where None is given."""
    pattern = f"{_plain(store.keys.root)}:{{*}}:stamp:*"
    cursor, runs = b"0", set[bytes]()
    while True:
        answer = await server.call(("SCAN", cursor, "MATCH", pattern, "COUNT", SCANNED))
        cursor, keys = answer.first()
        runs.add(answer.server.run)
        names = (key.decode() for key in keys)
        runs |= await store.unlink(one for one in names if wanted is None or one.rpartition(":")[2] in wanted)
        if int(cursor) == 0:
            return runs


def _plain(text: str) -> str:
    """A text that stands for itself in a pattern."""
    return "".join(f"\\{one}" if one in "*?[]\\^" else one for one in text)
