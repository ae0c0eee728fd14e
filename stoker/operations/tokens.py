"""Tokens: those of the settings, and those in Postgres that are added and revoked without a restart.

Only hashes are stored, and they are compared in constant time. Every process reads the table again after
`RELOAD_S`, so a revoked token may work for that long. While Postgres is away, the tokens that were read last
count. A process that never could read the table, and has no token in its settings, raises
DatabaseUnavailable. The rows of revoked tokens stay: a table whose last token was revoked must differ from
one that never had a token.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from pydantic import BaseModel
from sqlalchemy import exists, func, null, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from stoker.errors import BadRequest, DatabaseUnavailable, NotFound
from stoker.operations.audit import Actor, audit
from stoker.postgres import database_errors, promptly
from stoker.settings import NOBODY, Role, TokenSettings
from stoker.stoker import Stoker
from stoker.tables import api_tokens

log = logging.getLogger(__name__)

RELOAD_S = 5
READ_S = 5
"""Time limit in seconds for reading the table: every request that needs it waits for it."""
PATIENCE_S = 0.5
"""Seconds that a request waits for a table which was read before: then what was read last counts."""
NOTED_S = 60
"""Seconds between two writes of when a token was last used: not one write for each request."""
NOTE_AGAIN_S = 5
"""Seconds between a failed write of that time and the next try; no request waits for it meanwhile."""
TOKEN_BYTES = 32
MOST_DAYS = 3650
"""The longest life of a token, in days."""


class TokenTaken(BadRequest):
    """A token of that name is in use. Revoke it first, or choose another name."""


class TokenFigures(BaseModel):
    """A token of the table, without its hash."""

    name: str
    role: Role
    created_at: datetime
    revoked_at: datetime | None
    last_used_at: datetime | None
    expires_at: datetime | None


class Tokens(Mapping[str, TokenSettings]):
    """The valid tokens, by name, as one process knows them. A name in the settings hides the table's."""

    def __init__(self, settings: Sequence[TokenSettings], engine: AsyncEngine) -> None:
        self._settings = {token.name: token for token in settings}
        self._engine = engine
        self._known = dict(self._settings)
        self._loaded = bool(settings)
        self._none_ever = False
        self._reload_at = 0.0
        self._reading: asyncio.Task[None] | None = None
        self._asked_at = 0.0
        self._must_read = False
        self._noted: dict[str, float] = {}

    def __getitem__(self, name: str) -> TokenSettings:
        token = self._known[name]
        if token.expired:
            raise KeyError(name)
        return token

    def __iter__(self) -> Iterator[str]:
        return iter([name for name, token in self._known.items() if not token.expired])

    def __len__(self) -> int:
        return len(list(iter(self)))

    @property
    def none_ever(self) -> bool:
        """Whether the settings have no token and the table, which was read, never had one."""
        return self._none_ever

    async def load(self) -> None:
        """Read the table if it is time; raises DatabaseUnavailable if it was never read.

        Concurrent callers wait for the same answer, and a caller that is cancelled does not cancel the query:
        a table that was not read yet must not be mistaken for one without tokens. Where it was read before,
        nobody waits for longer than PATIENCE_S: a Postgres that is silent must not leave the console blank.
        """
        if time.monotonic() < self._reload_at:
            return
        if self._reading is None:
            self._asked_at = time.monotonic()
            self._reading = asyncio.create_task(self._read(), name="tokens")
            self._reading.add_done_callback(_heard)
        if self._must_read or not self._loaded:
            await asyncio.shield(self._reading)
        else:
            left_s = max(0.0, self._asked_at + PATIENCE_S - time.monotonic())
            await asyncio.wait({self._reading}, timeout=left_s)

    def outdated(self) -> None:
        """Read the table again at the next call: it was just changed."""
        self._reload_at = 0.0
        self._must_read = True
        self._reading = None  # it may have read the table before the change

    def find(self, given: str) -> TokenSettings | None:
        """The token that was given; None for an unknown one."""
        # A text with a lone surrogate gets a hash, too; no token has it.
        digest = hashlib.sha256(given.encode(errors="surrogatepass")).hexdigest()
        found = None
        for token in self._known.values():  # Compare with all: the time must not reveal which one was close.
            if hmac.compare_digest(token.digest, digest) and not token.expired:
                found = token
        return found

    async def used(self, token: TokenSettings) -> None:
        """Record that a token of the table was used. Best effort."""
        now = time.monotonic()
        if token.name in self._settings or now - self._noted.get(token.name, -NOTED_S) < NOTED_S:
            return
        self._noted[token.name] = now
        try:
            await promptly(_note_use(self._engine, token.name), PATIENCE_S)
        except DatabaseUnavailable:
            self._noted[token.name] = now - NOTED_S + NOTE_AGAIN_S

    async def _read(self) -> None:
        mine, began = asyncio.current_task(), time.monotonic()
        try:
            with database_errors():
                async with asyncio.timeout(READ_S):
                    active = await _active(self._engine)
                    none_ever = not active and not self._settings and not await _any_ever(self._engine)
                    if not active and not none_ever:  # The second query may have seen a token that is new.
                        active = await _active(self._engine)
        except DatabaseUnavailable as error:
            if not self._loaded:
                raise
            log.info("tokens.not_loaded", extra={"error": str(error)})
            if self._reading is mine:
                self._reload_at = time.monotonic() + RELOAD_S
        else:
            if self._reading is mine:
                self._known, self._none_ever, self._loaded = {**active, **self._settings}, none_ever, True
                self._must_read = False
                self._reload_at = began + RELOAD_S
        finally:
            if self._reading is mine:
                self._reading = None


async def add(
    stoker: Stoker,
    actor: Actor,
    name: str,
    role: Role,
    of_settings: Sequence[TokenSettings] = (),
    days: int | None = None,
) -> str:
    """Make a token that is valid for `days`, and return it: it is not shown again. Raises TokenTaken."""
    if name == NOBODY:
        raise TokenTaken(f"the audit log uses {name!r} for wrong tokens: choose another name", field="name")
    if name in {token.name for token in of_settings}:
        raise TokenTaken(f"the settings have a token {name!r}: choose another name", field="name")
    given = secrets.token_urlsafe(TOKEN_BYTES)
    checked = TokenSettings(name=name, role=role, sha256=hashlib.sha256(given.encode()).hexdigest())
    ends = None if days is None else func.clock_timestamp() + func.make_interval(0, 0, 0, days)
    row = insert(api_tokens).values(
        name=checked.name, role=role.value, sha256=checked.digest, expires_at=ends
    )
    fresh = {column: row.excluded[column] for column in ("role", "sha256", "expires_at")}
    row = row.on_conflict_do_update(
        index_elements=["name"],
        set_={**fresh, "created_at": func.clock_timestamp(), "revoked_at": null(), "last_used_at": null()},
        where=or_(api_tokens.c.revoked_at.is_not(None), api_tokens.c.expires_at <= func.clock_timestamp()),
    )
    with database_errors():
        async with stoker.session() as session, session.begin():
            await audit(session, actor, "token.add", {"name": name, "role": role, "days": days})
            if (await session.execute(row.returning(api_tokens.c.name))).first() is None:
                raise TokenTaken(f"token {name!r} is in use: revoke it, or choose another name", field="name")
    return given


async def revoke(stoker: Stoker, actor: Actor, name: str) -> None:
    """Revoke a token, in every process, within RELOAD_S; raises NotFound."""
    gone = (
        update(api_tokens)
        .where(api_tokens.c.name == name, api_tokens.c.revoked_at.is_(None))
        .values(revoked_at=func.clock_timestamp())
    )
    with database_errors():
        async with stoker.session() as session, session.begin():
            await audit(session, actor, "token.revoke", {"name": name})
            if (await session.execute(gone.returning(api_tokens.c.name))).first() is None:
                raise NotFound(f"no token {name!r} is in use; tokens of the settings are removed there")


async def list_tokens(stoker: Stoker) -> list[TokenFigures]:
    """Every token of the table, those in use first."""
    columns = [api_tokens.c[name] for name in TokenFigures.model_fields]
    query = select(*columns).order_by(api_tokens.c.revoked_at.desc().nulls_first(), api_tokens.c.name)
    with database_errors():
        async with stoker.engine.connect() as connection:
            return [TokenFigures(**row) for row in (await connection.execute(query)).mappings()]


async def _active(engine: AsyncEngine) -> dict[str, TokenSettings]:
    columns = api_tokens.c
    query = select(columns.name, columns.role, columns.sha256, columns.expires_at).where(
        columns.revoked_at.is_(None)
    )
    with database_errors():
        async with engine.connect() as connection:
            rows = (await connection.execute(query)).all()
    found = {}
    for row in rows:
        try:
            found[row.name] = TokenSettings(
                name=row.name, role=Role(row.role), sha256=row.sha256, expires_at=row.expires_at
            )
        except ValueError:  # A role of a newer release: this token is not valid here; the others are.
            log.warning("tokens.unreadable", extra={"token": row.name, "role": row.role})
    return found


async def _any_ever(engine: AsyncEngine) -> bool:
    with database_errors():
        async with engine.connect() as connection:
            return bool(await connection.scalar(select(exists().select_from(api_tokens))))


def _heard(reading: asyncio.Task[None]) -> None:
    if not reading.cancelled():
        reading.exception()  # Every caller that waited may be gone; the next one reads again.


async def _note_use(engine: AsyncEngine, name: str) -> None:
    columns = api_tokens.c
    old = func.clock_timestamp() - func.make_interval(0, 0, 0, 0, 0, 0, NOTED_S)
    used = (
        update(api_tokens)
        .where(columns.name == name, or_(columns.last_used_at.is_(None), columns.last_used_at < old))
        .values(last_used_at=func.clock_timestamp())
    )
    with database_errors():
        async with engine.begin() as connection:
            await connection.execute(used)
