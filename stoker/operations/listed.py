"""Invalidates the scopes of a list, one a line: all of them in one transaction, or none.

The whole list is read and checked before anything is written. It is recorded as events of a few scopes each,
so that no row, and no batch of the relay, becomes large.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from pydantic_core import to_json
from sqlalchemy import text

from stoker.domain import Domain
from stoker.errors import BadRequest
from stoker.operations.audit import Actor, audit
from stoker.operations.cache import invalidation_of
from stoker.outbox.receipt import TransactionReceipt
from stoker.outbox.record import InvalidationRequested
from stoker.outbox.scopes import encode
from stoker.postgres import database_errors
from stoker.rules import Invalidation
from stoker.stoker import Stoker

MOST = 1_000_000
"""Scopes of one list. All of them are in memory, about 150 bytes each."""
SCOPES_PER_EVENT = 20
EVENTS_PER_INSERT = 500
HARD = "hard"
"""The word at the end of a line; no view may have this name."""
FIELD = "from"
"""What errors say is wrong: the option that names the list."""
_INSERT = text(
    "INSERT INTO stoker.cache_events (kind, payload, scopes)"
    " VALUES (:kind, CAST(:payload AS jsonb), CAST(:scopes AS jsonb))"
)

Report = Callable[[int, int], None]
"""Called with what is done and the total."""


@dataclass(frozen=True, slots=True)
class Listed:
    """The scopes of a list: rows of `cache_events`, and how many scopes of each kind they name."""

    events: list[dict[str, str]] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)


def listed(lines: Iterable[str], domain: Domain, views: Sequence[str] = (), *, hard: bool = False) -> Listed:
    """Read a list; raises BadRequest that names the line.

    A line is `KIND:ID`, then views of it, then `hard`, each after a space; the last two may be left out.
    Empty lines, and what follows `#`, say nothing. `views` are those of lines that name none; `hard` is for
    all.
    """
    found = Listed()
    invalidations = _invalidations(lines, domain, views, hard=hard)
    while some := list(islice(invalidations, SCOPES_PER_EVENT)):
        found.kinds.update(one.scope.kind for one in some)
        if found.kinds.total() > MOST:
            raise BadRequest(
                f"more than {MOST:,} scopes: split the list; nothing was invalidated", field=FIELD
            )
        requested = InvalidationRequested.of(some)
        found.events.append(
            {
                "kind": requested.kind,
                "payload": requested.model_dump_json(),
                "scopes": to_json(encode(some, domain)).decode(),
            }
        )
    return found


async def invalidate_listed(
    stoker: Stoker, actor: Actor, found: Listed, source: str, report: Report
) -> TransactionReceipt:
    """Record the invalidations of a list in one transaction; `source` names it in the audit."""
    with database_errors():
        async with stoker.session() as session, session.begin():
            await audit(
                session, actor, "cache.invalidate_list", {"list": source, "scopes": dict(found.kinds)}
            )
            for done in range(0, len(found.events), EVENTS_PER_INSERT):
                report(done * SCOPES_PER_EVENT, found.kinds.total())
                await session.execute(_INSERT, found.events[done : done + EVENTS_PER_INSERT])
            receipt = stoker.applied(session)
        report(found.kinds.total(), found.kinds.total())
    return receipt


def _invalidations(
    lines: Iterable[str], domain: Domain, views: Sequence[str], *, hard: bool
) -> Iterator[Invalidation]:
    for number, line in enumerate(lines, start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        scope, *named = words
        kind, colon, scope_id = scope.partition(":")
        is_hard = bool(named) and named[-1] == HARD
        own = named[:-1] if is_hard else named
        try:
            if not colon:
                raise BadRequest(f"{scope[:60]!r} is no scope: write KIND:ID", field=FIELD)  # noqa: TRY301 - as the others
            yield invalidation_of(domain, kind, scope_id, own or views, hard=is_hard or hard)
        except BadRequest as error:
            raise BadRequest(f"line {number}: {error}; nothing was invalidated", field=FIELD) from error
