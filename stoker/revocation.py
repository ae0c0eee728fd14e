"""Taking a right away: done only when no cached byte can reach a reader whom SQL refuses (RACES 39).

The worker is given a moment to apply what was recorded. If it does not, the stamps are unlinked here: the one
exception to the rule that no request invalidates the cache itself. If that fails too, the caller is told.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from stoker.errors import CacheUnavailable, CommittedNotApplied, Unavailable
from stoker.outbox.pending import Recorded
from stoker.outbox.receipt import Applied, Receipt
from stoker.outbox.scopes import decode
from stoker.parts import Parts
from stoker.postgres import database_errors
from stoker.rules import Invalidation

logger = logging.getLogger(__name__)

PATIENCE = timedelta(seconds=2)
"""How long the worker is given to apply a removal. Shorter: more invalidations inside requests."""
Unlink = Callable[[Iterable[Invalidation]], Awaitable[None]]


async def take_effect(parts: Parts, events: Sequence[Recorded], unlink: Unlink) -> None:
    """Wait until committed events are in effect, or put them into effect here; raises CommittedNotApplied."""
    began = time.monotonic()
    receipts = [one.receipt for one in events if one.receipt is not None]
    if await _applied_by_worker(receipts, began + PATIENCE.total_seconds()):
        return
    try:
        await _unlink_here(parts, events, unlink)
    except Exception as error:
        # Whatever it is, a rule's own error too, must not read as if the change were not committed.
        if not isinstance(error, Unavailable):
            logger.exception("revocation.failed")
        raise CommittedNotApplied(receipts[-1].event_id, time.monotonic() - began) from error


async def _applied_by_worker(receipts: Iterable[Receipt], give_up: float) -> bool:
    try:
        for receipt in receipts:
            left = timedelta(seconds=max(0.0, give_up - time.monotonic()))
            if await receipt.applied(left) is not Applied.APPLIED:
                return False
    except Unavailable:
        return False  # unknown counts as not applied: a second unlink does no harm
    return True


async def _unlink_here(parts: Parts, events: Sequence[Recorded], unlink: Unlink) -> None:
    if (why := await _other_cache(parts)) is not None:
        raise CacheUnavailable(why)
    await unlink(await _invalidated(parts, events))


async def _other_cache(parts: Parts) -> str | None:
    """Why an unlink here misses what others read (RACES 45); None if it does not, or if nobody can tell."""
    try:
        return await parts.cache_identity.diverged()
    except Unavailable:
        return None


async def _invalidated(parts: Parts, events: Sequence[Recorded]) -> list[Invalidation]:
    """What the events carry, and what their rules say now, as the relay would apply it (RACES 32)."""
    found: list[Invalidation] = []
    for one in events:
        found += decode(one.said["scopes"], parts.domain)
        # A captured event without fields, as of TRUNCATE, names every scope.
        if one.said["kind"] in parts.domain.asking_kinds and one.said["payload"] is not None:
            found += await _audience(parts, one)
    return found


async def _audience(parts: Parts, one: Recorded) -> list[Invalidation]:
    rule = parts.domain.rules_by_kind[one.said["kind"]]
    with database_errors():
        async with AsyncSession(parts.engine) as session:
            asked = rule.event.model_validate(one.said["payload"])
            found = await rule.audience(session, [asked])  # type: ignore[misc]
    return parts.domain.checked(found, f"the audience of {rule.event.kind}")
