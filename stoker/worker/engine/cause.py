"""What killed a job, as a fingerprint: dead letters of one cause share it, and those of two causes do not.

It is made of the job's kind, the error's class and SQLSTATE, the innermost function of the application, and
the error's message without its values. A line number is not part of it: a fingerprint outlives an edit.
"""

from __future__ import annotations

import re
import sysconfig
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from traceback import walk_tb
from types import FrameType, TracebackType

from stoker.errors import first_line

STOKER = str(Path(__file__).parents[2])
STANDARD = sysconfig.get_path("stdlib")
INSTALLED = frozenset({"site-packages", "dist-packages"})
"""Folders that hold what was installed: libraries, and applications that were installed as a wheel."""
LIBRARIES = frozenset(
    {"stoker", "sqlalchemy", "asyncpg", "psycopg", "redis", "arq", "pydantic", "alembic", "httpx", "anyio"}
)
"""Packages whose functions are never the application's, though they may be called before one of it."""
DATA_ERRORS = "22"
"""Class of SQLSTATE in whose messages double quotes hold a value; elsewhere they hold a name."""
LONGEST_MESSAGE, LONGEST_CHAIN = 500, 10
VALUES = re.compile(
    r"(?<!\w)'[^']*'(?!\w)"
    r"|\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"
    r"|\b0x[0-9a-f]+\b|\b(?=[a-f]*\d)[0-9a-f]{8,}\b|\S+@\S+|\d+",
    re.IGNORECASE,
)
QUOTED = re.compile(r'"[^"]*"')


def fingerprint(*parts: str) -> str:
    """32 characters that are equal where all parts are."""
    return blake2b("\n".join(parts).encode(errors="replace"), digest_size=16).hexdigest()


def fingerprint_of(kind: str, error: BaseException) -> str:
    """The fingerprint of a job's error; of a group, that of its first one."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    chain = list(_chain(error))
    state = next(filter(None, (getattr(one, "sqlstate", None) for one in chain)), "") or ""
    # What the driver raised is last; SQLAlchemy's text around it holds the statement.
    said = [normalised(first_line(one), str(state)) for one in (chain[0], chain[-1])]
    return fingerprint(kind, type(error).__qualname__, str(state), application_frame(error), *said)


def normalised(message: str, state: str = "") -> str:
    """A message without what differs from one run to the next: numbers, ids, addresses, quoted values."""
    printable = (one if one.isprintable() else " " for one in message[:LONGEST_MESSAGE])
    message = " ".join("".join(printable).split())
    if not state or state.startswith(DATA_ERRORS):
        message = QUOTED.sub("#", message)
    return VALUES.sub("#", message)


def application_frame(error: BaseException) -> str:
    """The innermost function of the application that the error passed, as `module:function`.

    Where no function of the application was running, Stoker's innermost one, which called the driver.
    """
    frames = [frame for frame, _ in walk_tb(error.__traceback__)]
    own = [frame for frame in frames if not _is_library(frame)]
    if not own:
        # An application that was installed lies among the libraries; its handler or loader was called first.
        called = next((_package(one) for one in frames if _may_be_installed(one)), None)
        own = [frame for frame in frames if _package(frame) == called]
    own = own or [frame for frame in frames if frame.f_code.co_filename.startswith(STOKER)] or frames
    if not own:
        return ""
    return f"{own[-1].f_globals.get('__name__', '?')}:{own[-1].f_code.co_qualname}"


def since_application(error: BaseException) -> TracebackType | None:
    """The traceback from the first function of the application on; all of it where there was none."""
    found = error.__traceback__
    while found is not None and _is_library(found.tb_frame) and not _may_be_installed(found.tb_frame):
        found = found.tb_next
    return found or error.__traceback__


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and its causes, the driver's own error last."""
    found: BaseException | None = error
    for _ in range(LONGEST_CHAIN):
        if found is None:
            return
        yield found
        found = getattr(found, "orig", None) or found.__cause__


def _is_library(frame: FrameType) -> bool:
    path = frame.f_code.co_filename
    return path.startswith(("<", STOKER, STANDARD)) or not INSTALLED.isdisjoint(Path(path).parts)


def _may_be_installed(frame: FrameType) -> bool:
    path = frame.f_code.co_filename
    return not INSTALLED.isdisjoint(Path(path).parts) and _package(frame) not in LIBRARIES


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "?")).partition(".")[0]
