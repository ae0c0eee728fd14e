"""Taking a right away: it is done only when no cached byte can reach a reader whom SQL refuses.

This is the one exception to the rule that no request touches the cache to invalidate it (RACES 39).
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import timedelta

from stoker import Applied, CacheUnavailable, CommittedNotApplied, Invalidation, Receipt, Stoker, Unavailable

PATIENCE = timedelta(seconds=2)
"""How long the worker is given to apply a removal. Shorter: more invalidations inside requests."""


async def until_applied(stoker: Stoker, receipt: Receipt, invalidations: Iterable[Invalidation]) -> None:
    """Wait for the worker; if it is not in time, invalidate here.

    Raises CommittedNotApplied if the cache does not answer either: the change is committed, the worker
    applies it as soon as it can, and until then it is not in effect.
    """
    started = time.monotonic()
    try:
        if await receipt.applied(PATIENCE) is Applied.APPLIED:
            return
    except Unavailable:
        pass  # Unknown counts as not applied: a second unlink does no harm.
    try:
        await stoker.invalidate_now(invalidations)
    except CacheUnavailable as error:
        raise CommittedNotApplied(receipt.event_id, time.monotonic() - started) from error
