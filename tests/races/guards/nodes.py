"""Guards of the cache on a cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import stoker.handlers.relay
import stoker.redis.primary
from stoker.cache.breaker import Unsettled
from stoker.cache.keys import EntryNames
from stoker.cache.lookup import Lookup
from stoker.cache.near import Near
from stoker.cache.reading import Found
from stoker.redis.cache import NodeAway
from stoker.redis.nodes import Primaries
from stoker.redis.run import replication_id
from tests.races.guards.away import Removal, replaced


async def _one_look(
    self: Lookup, names: tuple[EntryNames, ...], kept: Sequence[Near | None], *, in_order: bool
) -> list[Found]:
    del in_order
    return await self._read_scopes(names, kept)


async def _none_apart(*_: object) -> None:
    raise NodeAway("one of several")


GUARDS: Mapping[str, Removal] = {
    "the epoch in the run": replaced(stoker.redis.primary, "reign_of", lambda info, *_: replication_id(info)),
    "nodes doubted when the map changes": replaced(Primaries, "doubt", lambda _: None),
    "events of other nodes settled": replaced(stoker.handlers.relay, "_unlink_each", _none_apart),
    "nodes used when their events are applied": replaced(Unsettled, "is_applied", lambda *_: True),
    "the second look at a right of another node": replaced(Lookup, "_read_apart", _one_look),
}
