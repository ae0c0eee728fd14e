"""Which run of a server a connection leads to. Stamps begin with it: after a restart no older stamp is valid.

A server is identified by its run id and its replication id. Where it shows no run id of 40 hex digits (some
servers and proxies do not), it gets a nonce that a restart loses: a script that returns the nonce is loaded
into the server's script cache, which is neither saved nor replicated, and a key says which nonce it is. A
restart, a promotion and SCRIPT FLUSH each make a new nonce necessary. Raises Unidentified where that
fails, too.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Awaitable, Callable
from hashlib import blake2b
from typing import Any

from redis.exceptions import RedisError

from stoker.redis.errors import Unidentified
from stoker.redis.script import Script, digest_of, in_full

RUN_CHARACTERS = 16
ID = re.compile(rb"[0-9a-f]{40}")
NONCE = re.compile(rb"[0-9a-f]{40}")
SWAP = Script("stoker.redis", "swap")
ATTEMPTS = 3
NEITHER = "the cache Redis shows no run id, and keeps no nonce in its place: stamps cannot be tied to its run"

Ask = Callable[..., Awaitable[Any]]
"""Sends one command and returns its reply; raises RedisError for an error reply."""


def field(info: bytes, name: bytes) -> bytes:
    """A field of an INFO reply; empty where there is none."""
    for line in info.splitlines():
        key, _, value = line.partition(b":")
        if key == name:
            return value.strip()
    return b""


def replication_id(info: bytes) -> bytes:
    """The id of the replication that a primary leads, new with each promotion; empty where it shows none."""
    found = field(info, b"master_replid")
    return found if ID.fullmatch(found) else b""


def mode_of(info: bytes) -> bytes:
    """`standalone`, `cluster` or `sentinel`; Valkey has another name for it than Redis."""
    return field(info, b"server_mode") or field(info, b"redis_mode")


def reign_of(info: bytes, cluster: bytes = b"") -> bytes:
    """A server's time as the primary of its keys: the replication that it leads, and its epoch in a cluster.

    The epoch is new when slots were moved to the node. A stamp that was moved away and comes home must not be
    of the same run as before: its unlink may have been lost with the node that it was on (RACES 48).
    """
    return replication_id(info) + field(cluster, b"cluster_my_epoch")


def run_id(info: bytes) -> bytes:
    """The id that a server draws when it starts; empty where it shows none."""
    found = field(info, b"run_id")
    return found if ID.fullmatch(found) else b""


def run_of(identity: bytes, reign: bytes) -> bytes:
    """What the server's stamps begin with: the same in one run of it, until it is promoted again (RACES 8).

    A primary that fails over and back without a restart keeps its run id, and gets back what it has unlinked
    since; its replication id is new with each promotion.
    """
    return blake2b(identity + reign, digest_size=RUN_CHARACTERS // 2).hexdigest().encode()


async def nonce_of(ask: Ask, key: str) -> bytes:
    """The nonce of this run of a server; made by the first process that connects."""
    try:
        for _ in range(ATTEMPTS):
            known: bytes = await ask("GET", key) or b""
            if await _is_loaded(ask, known):
                return known
            made = secrets.token_hex(20).encode()
            # The script is loaded before the key names it, so that no process finds a nonce without its
            # script.
            await ask("SCRIPT", "LOAD", nonce_script(made))
            await ask(*in_full(SWAP.call((key,), known, made)))
    except RedisError as error:
        raise Unidentified(f"{NEITHER}: {error}") from error
    raise Unidentified(NEITHER)


def nonce_script(nonce: bytes) -> bytes:
    """The script whose presence in the server's script cache says that the nonce is of this run."""
    return b"return '%b'" % nonce


async def _is_loaded(ask: Ask, nonce: bytes) -> bool:
    if not NONCE.fullmatch(nonce):
        return False
    [loaded] = await ask("SCRIPT", "EXISTS", digest_of(nonce_script(nonce)))
    return bool(loaded)
