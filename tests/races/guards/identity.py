"""Guards that compare the cache that is read with the cache that events are applied to (row 45)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from sqlalchemy import text

from stoker.outbox import identity
from stoker.outbox.identity import CacheIdentity, Noted
from tests.races.guards.away import Removal, both, replaced


async def _nothing(*_: object) -> None:
    return None


async def _always_long_ago(_: CacheIdentity) -> datetime:
    return datetime.min.replace(tzinfo=UTC)


def _by_prefix_alone(noted: Sequence[Noted], root: str, _run: str) -> bool:
    return any((one.root, one.diverged_since) == (root, None) for one in noted)


GUARDS: Mapping[str, Removal] = {
    "the cache noted before anything is settled": both(
        replaced(CacheIdentity, "note", _nothing), replaced(CacheIdentity, "acknowledged", _nothing)
    ),
    "the cache compared by the breaker": replaced(CacheIdentity, "diverged", _nothing),
    "the run of the noted server": replaced(identity, "_reaches", _by_prefix_alone),
    "a new run being known to the next note": replaced(CacheIdentity, "_clock", _always_long_ago),
    "the server that acknowledged being noted": replaced(CacheIdentity, "acknowledged", _nothing),
    "what went to the other cache applied again": replaced(
        identity, "AGAIN", text("SELECT WHERE CAST(:since AS timestamptz) IS NULL")
    ),
}
