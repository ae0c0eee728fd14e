"""`stoker invalidate --from`: the scopes of a file or of standard input, one a line."""

from __future__ import annotations

import asyncio
import io
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TextIO

from pydantic import BaseModel

from stoker.cli.display import note, progress
from stoker.cli.opened import NotDone, On
from stoker.errors import BadRequest
from stoker.operations.listed import Listed, invalidate_listed, listed
from stoker.outbox.receipt import Applied

STDIN = "-"
NO_TEXT = "backslashreplace"
"""What is not UTF-8 is no scope either: so it is refused with the number of its line."""


class ListInvalidated(BaseModel):
    """A list of scopes, all invalidated in one transaction, and whether that is in effect."""

    scopes: int
    transaction_id: str | None
    applied: bool = False


def said(found: ListInvalidated) -> str:
    """In words."""
    many = f"{found.scopes:,} scope{'' if found.scopes == 1 else 's'}"
    return (
        f"{many} invalidated" if found.applied else f"{many}: recorded by transaction {found.transaction_id}"
    )


async def invalidate_list(
    on: On, source: str, views: Sequence[str], wait_s: float, *, hard: bool
) -> ListInvalidated:
    """Invalidate the scopes of a list, and wait until that is in effect; raises BadRequest, NotDone."""
    # In a thread: standard input may come slowly.
    found = await asyncio.to_thread(_read, on, source, views, hard=hard)
    scopes = found.kinds.total()
    if not scopes:
        return ListInvalidated(scopes=0, transaction_id=None, applied=True)
    with progress("recording scopes") as report:
        receipt = await invalidate_listed(on.stoker, on.actor, found, source, report)
    done = ListInvalidated(scopes=scopes, transaction_id=str(receipt.transaction_id))
    if wait_s:
        note(f"recorded by transaction {receipt.transaction_id}")
        began = time.monotonic()
        done.applied = await receipt.applied(timedelta(seconds=wait_s)) is Applied.APPLIED
        if not done.applied:
            took_s = time.monotonic() - began
            raise NotDone(f"not applied within {took_s:.1f} s: the worker goes on; `stoker status`", done)
    return done


def _read(on: On, source: str, views: Sequence[str], *, hard: bool) -> Listed:
    with _opened(source) as lines:
        return listed(lines, on.stoker.domain, views, hard=hard)


@contextmanager
def _opened(source: str) -> Iterator[TextIO]:
    if source == STDIN:
        if isinstance(sys.stdin, io.TextIOWrapper):
            sys.stdin.reconfigure(encoding="utf-8", errors=NO_TEXT)
        yield sys.stdin
        return
    try:
        with open(source, encoding="utf-8", errors=NO_TEXT) as lines:  # noqa: PTH123 - a name of the user's
            yield lines
    except OSError as error:
        raise BadRequest(f"{source} cannot be read: {error.strerror}", field="from") from error
