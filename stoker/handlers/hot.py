"""Asks for refreshes of entries that a change has invalidated and that are in demand; called by the relay.

Best effort: what is not refreshed here is built by its next reader.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from datetime import timedelta
from itertools import islice

from stoker.cache.view import EntryKey, Scope
from stoker.domain import Domain
from stoker.errors import CacheUnavailable, QueueUnavailable
from stoker.handlers.demand import in_demand
from stoker.jobs import Refresh
from stoker.rules import Invalidation
from stoker.stoker import Stoker

logger = logging.getLogger(__name__)

LOOKED_AT = 5000
"""Entries of one batch whose demand is looked up; those beyond it are built by their next readers."""
READERS_FIRST = timedelta(milliseconds=50)
"""A reader right after a change builds the entry itself, sooner than the worker would. The refresh, which
starts after this time, then finds it built."""
REFRESHED = 500
"""Entries of one batch that are refreshed at most."""


async def refresh_hot(
    stoker: Stoker, invalidations: Iterable[Invalidation], traces: Mapping[Scope, str]
) -> None:
    """Ask for a refresh of the entries in demand, in one round trip to the queue."""
    keys = dict.fromkeys(key for one in invalidations for key in _plain_entries(stoker.domain, one))
    try:
        hot = (await in_demand(stoker, list(islice(keys, LOOKED_AT))))[:REFRESHED]
        if hot:
            await stoker.queue.enqueue_many(
                [Refresh(view=key.view, scope_id=key.scope.id, params=key.params) for key in hot],
                traces=[traces.get(key.scope) for key in hot],
                delay=READERS_FIRST,
            )
    except (CacheUnavailable, QueueUnavailable) as error:
        logger.warning("relay.refresh_not_asked", extra={"error": str(error)})


def _plain_entries(domain: Domain, one: Invalidation) -> Iterable[EntryKey]:
    """The entry that a plain request reads, of each invalidated view."""
    for name in one.views & domain.views_by_name.keys():
        view = domain.views_by_name[name]
        if view.scope == one.scope.kind and (key := view.default_key(one.scope)) is not None:
            yield key
