"""Guards of revocations: what a request does itself where no worker applies a removal in time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import stoker.revocation
from stoker import Invalidation
from stoker.outbox.identity import CacheIdentity
from stoker.outbox.pending import Recorded
from stoker.parts import Parts
from tests.races.guards.away import Removal, replaced


async def _left_to_the_worker(_parts: Parts, _events: Sequence[Recorded]) -> list[Invalidation]:
    return []


async def _nobody_else(_parts: Parts, _one: Recorded) -> list[Invalidation]:
    return []


async def _the_same(_: CacheIdentity) -> None:
    return None


GUARDS: Mapping[str, Removal] = {
    "revocations put into effect by the request": replaced(
        stoker.revocation, "_invalidated", _left_to_the_worker
    ),
    "audiences of revocations": replaced(stoker.revocation, "_audience", _nobody_else),
    "revocations refused where the worker applies to another cache": replaced(
        CacheIdentity, "diverged", _the_same
    ),
}
