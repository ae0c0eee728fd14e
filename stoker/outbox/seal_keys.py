"""The keys that seal cache entries. They are kept in Postgres, which holds the access rights anyway.

Every process learns them when it opens, and again every few seconds. A new key is accepted at once, and seals
once every process has had time to learn it; the one before is accepted until the next rotation. So a
rotation leaves the cache warm. Raises DatabaseUnavailable; WrongServer where there is no key.
"""

from __future__ import annotations

import secrets
from datetime import timedelta

from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from stoker.errors import WrongServer
from stoker.postgres import database_errors

KEY_BYTES = 32
LEARN_S = 15.0
"""Seconds between two reads of the keys by a process."""
KNOWN_AFTER = timedelta(seconds=60)
"""Age from which a key seals: by then every process has learnt it, or has had no Postgres for a minute."""
ACCEPTED = 2
"""The newest keys, which are accepted."""
KEYS = text(
    "SELECT secret, created_at <= clock_timestamp() - CAST(:known_after AS interval)"
    " FROM stoker.seal_keys ORDER BY id DESC LIMIT :accepted"
)
ADD = text("INSERT INTO stoker.seal_keys (secret) VALUES (:secret)")
FORGET = text(
    "DELETE FROM stoker.seal_keys"
    " WHERE id NOT IN (SELECT id FROM stoker.seal_keys ORDER BY id DESC LIMIT :kept)"
)
ANY = text("SELECT count(*) FROM stoker.seal_keys")


async def learn(engine: AsyncEngine) -> tuple[bytes, ...]:
    """The keys for `Seal`: the one that seals, then others that are accepted."""
    with database_errors():
        async with engine.connect() as connection:
            try:
                asked = {"known_after": KNOWN_AFTER, "accepted": ACCEPTED}
                found = (await connection.execute(KEYS, asked)).all()
            except ProgrammingError as error:
                raise WrongServer("the database has no Stoker tables; run: stoker migrate") from error
    if not found:
        raise WrongServer("the database has no key for cache entries; run: stoker migrate")
    # Oldest first among those that are not known everywhere yet: of two, the older one.
    known = [secret for secret, is_known in found if is_known] or [found[-1][0]]
    others = [secret for secret, _ in found if secret != known[0]]
    return tuple(bytes.fromhex(secret) for secret in (known[0], *others))


async def make_first(connection: AsyncConnection) -> None:
    """Make a key in a database that has none."""
    if not await connection.scalar(ANY):
        await _add(connection)


async def rotate(engine: AsyncEngine, *, at_once: bool = False) -> None:
    """Make another key.

    The one before is accepted until the next rotation, so leave the longest life of an entry between two.
    `at_once`: accept no other key any more, because one has leaked; the cache is cold then, and
    what was sealed with the others counts as forged.
    """
    with database_errors():
        async with engine.begin() as connection:
            await _add(connection)
            await connection.execute(FORGET, {"kept": 1 if at_once else ACCEPTED})


async def renew(connection: AsyncConnection) -> None:
    """Replace all keys: those of a restored database are known to the one that it was copied from."""
    await _add(connection)
    await connection.execute(FORGET, {"kept": 1})


async def _add(connection: AsyncConnection) -> None:
    await connection.execute(ADD, {"secret": secrets.token_hex(KEY_BYTES)})
