"""Unlinking the stamps of views in every scope: for changes that cannot say which scopes they touch.

Goes through all keys of the server, so it is for rare events. A stamp that is made meanwhile belongs to a
load that begins after the commit, and SCAN returns every key that is there from its start to its end.
"""

from __future__ import annotations

from collections.abc import Collection

from redis.exceptions import RedisError

from stoker.cache.store import Store
from stoker.errors import CacheUnavailable

SCANNED = 1000
"""Keys that one call to the server goes through."""


async def unlink_every_scope(store: Store, views: Collection[str], *, hard: bool) -> set[bytes]:
    """Unlink the stamps of these views, or of all where none is named, in all scopes.

    `hard` unlinks the hard stamps too, which all views of a scope share. Returns the runs of the servers that
    acknowledged it, as Store.unlink does; raises CacheUnavailable.
    """
    wanted = {*views, "hard"} if hard else set(views)
    pattern = f"{_plain(store.keys.root)}:{{*}}:stamp:*"
    cursor, runs = b"0", set[bytes]()
    while True:
        answer = await store.client.call(("SCAN", cursor, "MATCH", pattern, "COUNT", SCANNED))
        reply = answer.first()
        if isinstance(reply, RedisError):
            raise CacheUnavailable(f"the cache Redis refused to scan: {reply}") from reply
        cursor, keys = reply
        runs.add(answer.server.run)
        names = (key.decode() for key in keys)
        runs |= await store.unlink(name for name in names if not views or name.rpartition(":")[2] in wanted)
        if int(cursor) == 0:
            return runs


def _plain(text: str) -> str:
    """A text that stands for itself in a pattern."""
    return "".join(f"\\{one}" if one in "*?[]\\^" else one for one in text)
