"""Guards of warming: an entry that cannot be built keeps no other entry cold (rows 30, 36)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress

import stoker.handlers.warm
from stoker import Domain, EntryKey
from stoker.handlers.builds import _built
from stoker.handlers.context import JobContext
from stoker.handlers.warm import _fill
from tests.races.guards.away import Removal, replaced


async def _whatever_fails(
    context: JobContext, keys: Sequence[EntryKey], begin: int = 0
) -> AsyncIterator[int]:
    with suppress(RuntimeError):
        async for done in _fill(context, keys, begin):
            yield done


GUARDS: Mapping[str, Removal] = {
    "what fails together built one by one": replaced(stoker.handlers.warm, "build", _built),
    "a warming of nothing failing": replaced(stoker.handlers.warm, "_fill", _whatever_fails),
    "keys of other releases left to them": replaced(Domain, "takes", lambda *_: True),
}
