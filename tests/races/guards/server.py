"""Guards in the scripts and on the connection."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from typing import Any

import stoker.redis.cache
import stoker.redis.connection
import stoker.redis.primary
import stoker.redis.run
from stoker.cache.envelope import Seal
from stoker.cache.keys import EntryNames, KeySpace
from stoker.cache.store import BEGIN, RELEASE, STORE, Claim, Store
from stoker.errors import CacheUnavailable
from stoker.redis.cache import Answer, CacheClient
from stoker.redis.connection import ServerRun, SharedConnection
from stoker.redis.run import Ask
from tests.races.guards.away import Patch, Removal, replaced, script

COMPARED_BY_STORE = script(
    STORE,
    "if redis.call('GET', KEYS[1]) ~= ARGV[1] or redis.call('GET', KEYS[2]) ~= ARGV[2] then",
    "if false then",
)


def _place_in_line(patch: Patch) -> None:
    """A cancelled caller removes itself from the queue of expected replies."""
    send = SharedConnection.send

    def sent(self: SharedConnection, packed: bytes, count: int) -> asyncio.Future[list[Any]]:
        future = send(self, packed, count)

        def leave(done: asyncio.Future[list[Any]]) -> None:
            if done.cancelled():
                for call in [one for one in self._calls if one.future is done]:
                    self._calls.remove(call)

        future.add_done_callback(leave)
        return future

    patch.setattr(SharedConnection, "send", sent)


async def _unlinked_by_script(self: Store, stamps: set[str]) -> set[bytes]:
    source = "#!lua\nfor _, key in ipairs(KEYS) do redis.call('UNLINK', key) end return 1"
    answer = await self.client.call(("EVAL", source, len(stamps), *stamps))
    if isinstance(answer.replies[0], Exception):
        raise CacheUnavailable(str(answer.replies[0]))
    return {answer.server.run}


def _full_is_an_outage(patch: Patch) -> None:
    begin = Store.begin

    async def begun(self: Store, entries: list[EntryNames]) -> list[Claim | None]:
        claims = await begin(self, entries)
        if None in claims:
            raise CacheUnavailable("the cache Redis refused a script")
        return claims

    patch.setattr(Store, "begin", begun)


def _clock_of_the_node(patch: Patch) -> None:
    """Every process has a clock of its own, hours apart."""
    hours: dict[int, int] = {}
    now_us = ServerRun.now_us

    def of_the_node(self: ServerRun) -> int:
        return now_us(self) + hours.setdefault(id(self), len(hours)) * 2 * 3600 * 1_000_000

    patch.setattr(ServerRun, "now_us", of_the_node)


def _one_key_space(patch: Patch) -> None:
    """Use the same keys for every database; the comparison of databases goes, too."""
    patch.setattr(Seal, "holds", lambda *_: True)
    init = KeySpace.__init__
    patch.setattr(KeySpace, "__init__", lambda self, prefix, _: init(self, prefix, "any"))


async def _always_loaded(_ask: Ask, nonce: bytes) -> bool:
    return bool(nonce)


async def _sent_once(self: CacheClient, *commands: tuple[Any, ...]) -> Answer:
    return await self._attempt(commands)


GUARDS: Mapping[str, Removal] = {
    "calls sent once more": replaced(CacheClient, "call", _sent_once),
    "stamps compared by the store": COMPARED_BY_STORE,
    "stamps outliving entries": script(STORE, "redis.call('PEXPIRE', KEYS[index], ARGV[5])", ""),
    "random stamps": script(
        BEGIN,
        "local fresh = ARGV[1] .. ARGV[2] .. string.format('%014x', now_us)",
        "local fresh = ARGV[1] .. string.rep('x', 25)",
    ),
    "the time in the stamp": script(BEGIN, "string.format('%014x', now_us)", "string.rep('0', 14)"),
    "the run compared when stamps are taken": script(
        BEGIN, "string.sub(stamp, 1, #ARGV[1]) ~= ARGV[1]", "false"
    ),
    "the lease across processes": script(BEGIN, "local won = 0", "local won = 1"),
    "the lease naming its stamp": script(
        BEGIN, "string.sub(held, 1, #soft + #hard) ~= soft .. hard", "false"
    ),
    "a call knowing its own lease": script(BEGIN, "held == mine or ", ""),
    "the token at the release": script(
        RELEASE, "if redis.call('GET', KEYS[1]) == ARGV[1] then", "if true then"
    ),
    "the token at the store": script(
        STORE,
        "if redis.call('GET', KEYS[4]) == ARGV[1] .. ARGV[2] .. ARGV[6] then",
        "if true then",
    ),
    "the place in the line": _place_in_line,
    "plain unlinks": replaced(Store, "unlink", _unlinked_by_script),
    "a full cache being a miss": _full_is_an_outage,
    "the replication in the run": replaced(stoker.redis.primary, "run_of", lambda identity, _: identity[:16]),
    "the nonce in the script cache": replaced(stoker.redis.run, "_is_loaded", _always_loaded),
    "refused writes ending the connection": replaced(stoker.redis.connection, "DEMOTED", ("-none",)),
    "the primary asked again": replaced(stoker.redis.cache, "SURE_S", math.inf),
    "the server's clock": _clock_of_the_node,
    "the installation in the prefix": _one_key_space,
}
