"""The token of the first start. It is an operator's, in a file that only the user who starts Stoker can read.

It is made only if there never was a token, and only for an API on a loopback address. The file is written
before the row. If the process dies between the two, the next start takes the token from the file. If the
database cannot be written, the start fails.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import exists, literal, select
from sqlalchemy.dialects.postgresql import insert

from stoker.errors import SettingsError
from stoker.operations.audit import audit, local_actor
from stoker.operations.tokens import TOKEN_BYTES, Tokens
from stoker.settings import Role, Settings, is_loopback
from stoker.stoker import Stoker
from stoker.tables import api_tokens

NAME = "first-start"
FILE = "operator-token"


@dataclass(frozen=True)
class FirstToken:
    """The token and its file. `made`: by this start."""

    file: Path
    token: str
    made: bool


async def first_token(stoker: Stoker, settings: Settings, folder: Path) -> FirstToken | None:
    """The token that the first start made, or that is made now; None if there are other tokens.

    Raises SettingsError if the API would face the network without a token, or the file is not private.
    """
    file = folder / FILE
    known = Tokens(settings.api.tokens, stoker.engine)
    await known.load()
    if not known and not is_loopback(settings.api.host):
        raise SettingsError(
            f"tokens must be set when api.host ({settings.api.host}) is not loopback: stoker tokens add"
        )
    if known.none_ever:
        given = _kept(file) or _written(file)
        if await _insert(stoker, given):
            return FirstToken(file, given, made=True)
        known.outdated()  # another process was first
        await known.load()
    try:
        kept = _kept(file)
    except SettingsError:  # The token still counts, but its file is not announced.
        return None
    return FirstToken(file, kept, made=False) if kept and known.find(kept) else None


async def _insert(stoker: Stoker, given: str) -> bool:
    columns = ["name", "role", "sha256"]
    digest = hashlib.sha256(given.encode()).hexdigest()
    values = select(literal(NAME), literal(Role.OPERATOR.value), literal(digest))
    none_ever = values.where(~exists().select_from(api_tokens))
    row = insert(api_tokens).from_select(columns, none_ever).on_conflict_do_nothing()
    async with stoker.session() as session, session.begin():
        made = (await session.execute(row.returning(api_tokens.c.name))).first() is not None
        if made:
            await audit(session, local_actor(), "token.add", {"name": NAME, "role": Role.OPERATOR})
        return made


def _kept(file: Path) -> str | None:
    """The content of the file; None without a file. Raises SettingsError if others could write or read it."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SettingsError(f"the token in {file} cannot be read: {error.strerror}") from error
    with os.fdopen(descriptor, encoding="ascii", errors="replace") as opened:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise SettingsError(f"{file} must be a file of this user with mode 0600: remove it")
        return opened.read().strip()


def _written(file: Path) -> str:
    """A new token, in a file that is created atomically."""
    given = secrets.token_urlsafe(TOKEN_BYTES)
    draft = file.with_name(f".{FILE}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as opened:
            opened.write(f"{given}\n")
        try:
            os.link(draft, file)
        except FileExistsError:  # of another process that starts at the same time
            return _kept(file) or given
        finally:
            draft.unlink()
    except OSError as error:
        raise SettingsError(
            f"there is no token yet, and {file} cannot be written ({error.strerror}): give --data a writable "
            "folder, or add a token: stoker tokens add NAME --role operator"
        ) from error
    return given
