"""What a change invalidates: by events that captures recorded, and by those that the application records.

Rules and their audiences are asked as the relay asks them, in the transaction that made the change.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from stoker.cache.view import EntryKey
from stoker.coverage.declared import Declared
from stoker.coverage.facts import TableFacts
from stoker.coverage.made import Seen, made
from stoker.domain import Domain
from stoker.handlers import relay
from stoker.outbox.captured import asks_rule
from stoker.outbox.rows import Alike
from stoker.rules import Event, Invalidation, Rule
from stoker.tables import cache_events


@dataclass(slots=True)
class Invalidated:
    """What becomes invalid, by which events."""

    invalidations: set[Invalidation] = field(default_factory=set)
    events: dict[str, None] = field(default_factory=dict)
    """Kinds of the events."""
    believed: dict[str, None] = field(default_factory=dict)
    """Kinds of events that cover the change, but cannot be made from a row."""

    def covers(self, key: EntryKey) -> bool:
        """Whether an entry becomes invalid."""
        return any(one.covers(key) for one in self.invalidations)


async def newest_event(connection: AsyncConnection) -> int:
    """The id of the last event that is recorded."""
    return await connection.scalar(select(func.max(cache_events.c.id))) or 0


async def invalidated(  # noqa: PLR0913, PLR0917 - a change, and where it is asked for
    connection: AsyncConnection,
    domain: Domain,
    known: Declared,
    table: TableFacts,
    column: str,
    rows: Iterable[Seen],
    after: int,
) -> Invalidated:
    """What the change of a column invalidates; of a row that came or went, where `column` is empty.

    `rows`: the row as it was and as it is; `after`: the last event before it. Raises what a rule raises.
    """
    found = Invalidated()
    await _recorded(connection, domain, after, found)
    values = list(rows)
    for rule in known.rules_for(table.oid, column):
        events = made(rule, table, values)
        if events is None:
            found.believed[rule.event.kind] = None
        else:
            found.events[rule.event.kind] = None
            found.invalidations |= await asked(connection, domain, rule, events)
    return found


async def asked(
    connection: AsyncConnection, domain: Domain, rule: Rule[Any], events: list[Event]
) -> set[Invalidation]:
    """What a rule, and its audience, say of events of its kind."""
    found = [
        one
        for event in events
        for one in domain.checked(rule.invalidates(event), f"the rule for {event.kind}")
    ]
    if rule.audience is not None:
        async with AsyncSession(bind=connection, join_transaction_mode="create_savepoint") as session:
            audience = await rule.audience(session, events)
        found += domain.checked(audience, f"the audience of {rule.event.kind}")
    return set(found)


async def _recorded(connection: AsyncConnection, domain: Domain, after: int, found: Invalidated) -> None:
    rows = await connection.execute(
        select(cache_events).where(cache_events.c.id > after).order_by(cache_events.c.id)
    )
    said = [
        Alike(row["kind"], json.dumps(row["scopes"]), json.dumps(row["payload"]), 0, None, [row["id"]])
        for row in rows.mappings()
    ]
    if not said:
        return
    for one in said:
        found.events[one.kind] = None
        if asks_rule(one.scopes):
            rule = domain.rules_by_kind[one.kind]
            event = rule.event.model_validate_json(one.payload, extra="ignore")
            # The relay invalidates whole views where a rule fails. Here the failure is the finding.
            found.invalidations |= await asked(connection, domain, rule, [event])
    folded = await relay.fold(connection, domain, [one for one in said if not asks_rule(one.scopes)])
    for _, error in folded.failed.values():
        raise ValueError(f"a recorded event cannot be applied: {error}")
    found.invalidations |= folded.invalidations
