"""Guards of answers: which replies count as one, and what a reader does without one (rows 7, 24, 38)."""

from __future__ import annotations

import time
from collections.abc import Mapping

from pydantic_core import from_json

import stoker.cache.batch
import stoker.handlers.verify
from stoker.cache.accounting import Accounting
from stoker.cache.keys import KeySpace
from stoker.cache.reading import Content, Found
from stoker.redis.cache import BUSY_CALLS, Answer, CacheClient
from stoker.redis.primary import SURE_S, PrimaryConnection
from tests.races.guards.away import Patch, Removal, Unheard, both, replaced


def _free_or_another(self: CacheClient) -> PrimaryConnection | None:
    best = self._least_loaded()
    if best is None or time.monotonic() >= best.confirmed_s + SURE_S:
        return None
    if best.load >= BUSY_CALLS and len(self._open) < self._most:
        return None
    return best


def _refused_forgotten(patch: Patch) -> None:
    flush = Accounting.flush

    async def flushed(self: Accounting, client: CacheClient, keys: KeySpace) -> None:
        await flush(self, client, keys)
        self._counts.clear()

    patch.setattr(Accounting, "flush", flushed)


def _role_unpacked(self: Content, reader: object) -> str | None:
    role: str | None = self.decoded.get(str(reader))
    return role


def _equal_unpacked(found: Found, body: bytes | None) -> bool:
    assert found.content is not None
    assert body is not None
    return bool(from_json(found.content.body) == from_json(body))


async def _another(self: CacheClient) -> PrimaryConnection:
    return await self._open_one(self._open)


GUARDS: Mapping[str, Removal] = {
    "outages told from errors of one entry": replaced(stoker.cache.batch, "CacheUnavailable", Unheard),
    "nobody waiting for another connection": both(
        replaced(CacheClient, "_free", _free_or_another),
        replaced(CacheClient, "_connect", _another),
    ),
    "error replies being no answers": both(
        replaced(Answer, "first", lambda self: self.replies[0]),
        replaced(Answer, "all", lambda self: self.replies),
    ),
    "refused counts kept": _refused_forgotten,
    "forged rights read from SQL": replaced(Content, "role_of", _role_unpacked),
    "forged entries being stale": replaced(stoker.handlers.verify, "_equal", _equal_unpacked),
}
