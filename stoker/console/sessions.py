"""Console sessions: a signed cookie instead of a token in the browser.

The cookie names a token and never holds it. It expires at its time, or when it was not used for the idle
time. It is signed with a key in the queue Redis and with the token's hash. A token that is removed or
replaced ends its sessions, and neither a dump of the database, which holds the hashes, nor the queue Redis
alone suffices to forge a cookie. Postgres only stores the sessions that were signed out of, until they would
have expired. While either server is away, a process that knows the key goes on: a session that was signed out
of in another process may then still read. It cannot act, because no action is done without its audit row.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from stoker.errors import DatabaseUnavailable, QueueUnavailable
from stoker.postgres import database_errors, promptly
from stoker.queue.enqueue import Queue
from stoker.settings import QueueSettings, TokenSettings

RELOAD_S = 60
"""Seconds after which the key is read again. A deleted key stays in use for up to this long."""
ENDED_KEPT = 10_000
"""Sessions signed out of here that this process remembers, in case Postgres is away."""
PATIENCE_S = 0.5
"""Seconds that a request waits for Postgres to say who signed out, before Postgres counts as away."""
AWAY_S = 5
"""Seconds for which a Postgres that did not answer is not asked who signed out."""
PARTS = 5
RENEWALS = 20
"""Most renewals of a cookie in one idle time: this bounds how exact its last use is."""
FORGET = text("DELETE FROM stoker.console_sessions_ended WHERE until < clock_timestamp()")
END = text(
    "INSERT INTO stoker.console_sessions_ended (nonce, until) VALUES (:nonce, to_timestamp(:until))"
    " ON CONFLICT (nonce) DO NOTHING"
)
ENDED = text("SELECT 1 FROM stoker.console_sessions_ended WHERE nonce = :nonce")


@dataclass(frozen=True)
class Session:
    """Somebody who signed in; `until` in seconds since 1970."""

    token: TokenSettings
    until: int
    nonce: str
    active: int = 0
    """When somebody was last known to use it, in seconds since 1970."""


class Sessions:
    """Makes and reads the cookies of one process; another process with the same servers reads them too."""

    def __init__(
        self,
        engine: AsyncEngine,
        queue: Queue,
        tokens: Mapping[str, TokenSettings],
        life_s: int,
        idle_s: int,
    ) -> None:
        self.engine = engine
        self._queue = queue
        self._tokens = tokens
        self._life_s = life_s
        self._idle_s = idle_s
        self._key: bytes | None = None
        self._reload_at = 0.0
        self._ended: dict[str, int] = {}
        self._ask_again_at = 0.0

    async def begin(self, token: TokenSettings) -> tuple[str, int]:
        """A cookie's value for a token, and its life in seconds."""
        now = int(time.time())
        session = Session(token, now + self._life_s, secrets.token_hex(8), now)
        return await self._cookie(session), self._life_s

    async def renew(self, session: Session) -> tuple[str, int] | None:
        """A cookie that records that the session was used now; None if the current one was renewed lately."""
        now = int(time.time())
        if (now - session.active) * RENEWALS < self._idle_s:
            return None
        return await self._cookie(replace(session, active=now)), session.until - now

    async def read(self, cookie: str) -> Session | None:
        """The session of a cookie; None if it is forged, expired, signed out of, or if its token is gone."""
        parts = cookie.split(":")
        if len(parts) != PARTS or not parts[1].isdecimal() or len(cookie) > 512:  # noqa: PLR2004 - longer is forged
            return None
        name, until, nonce, active, signature = parts
        token, now = self._tokens.get(name), time.time()
        if token is None or not active.isdecimal() or nonce in self._ended:
            return None
        session = Session(token, int(until), nonce, int(active))
        if session.until < now or session.active + self._idle_s < now:
            return None
        signed = _sign(await self._current_key(), session)
        # As bytes: `compare_digest` refuses texts that are not ASCII, and a cookie may hold any text.
        if not hmac.compare_digest(signed.encode(), signature.encode(errors="replace")):
            return None
        return None if await self._ended_anywhere(nonce) else session

    async def end(self, session: Session) -> None:
        """Sign out: no process accepts the cookie any more.

        Raises DatabaseUnavailable if only this process knows of it.
        """
        self._end_here(session)
        with database_errors():
            async with self.engine.begin() as connection:
                await connection.execute(FORGET)
                await connection.execute(END, {"nonce": session.nonce, "until": session.until})

    async def _cookie(self, session: Session) -> str:
        signature = _sign(await self._current_key(), session)
        return f"{session.token.name}:{session.until}:{session.nonce}:{session.active}:{signature}"

    async def _ended_anywhere(self, nonce: str) -> bool:
        if time.monotonic() < self._ask_again_at:
            return False
        try:
            return await promptly(self._is_ended(nonce), PATIENCE_S)
        except DatabaseUnavailable:
            self._ask_again_at = time.monotonic() + AWAY_S
            return False

    async def _is_ended(self, nonce: str) -> bool:
        with database_errors():
            async with self.engine.connect() as connection:
                return await connection.scalar(ENDED, {"nonce": nonce}) is not None

    def _end_here(self, session: Session) -> None:
        now = time.time()
        if len(self._ended) >= ENDED_KEPT:
            self._ended = {nonce: until for nonce, until in self._ended.items() if until > now}
        self._ended[session.nonce] = session.until

    async def _current_key(self) -> bytes:
        if self._key is None or time.monotonic() >= self._reload_at:
            try:
                self._key = await self._load_key()
            except QueueUnavailable:
                if self._key is None:
                    raise
            self._reload_at = time.monotonic() + RELOAD_S
        return self._key

    async def _load_key(self) -> bytes:
        name = console_key_name(self._queue.settings)
        await self._queue.connection.command("SET", name, secrets.token_hex(32), "NX")
        found: bytes | None = await self._queue.connection.command("GET", name)
        if not found:
            raise QueueUnavailable("the queue Redis does not keep the key of console sessions")
        return found


def console_key_name(settings: QueueSettings) -> str:
    """The Redis key that holds the signing key of sessions; it does not expire."""
    return f"{settings.prefix}:console_key"


def _sign(key: bytes, session: Session) -> str:
    token = session.token
    said = f"{token.name}:{session.until}:{session.nonce}:{session.active}:{token.digest}"
    return hmac.new(key, said.encode(), hashlib.sha256).hexdigest()
