"""A small world of projects on real servers, for the tests of the domain, with known members and roles.

Ann owns Alpha, which Ben edits and Cid views; Ben owns Beta alone; Dot sees nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr
from sqlalchemy import select

from jobs import domain
from jobs.inputs import (
    NewClassification,
    NewDocument,
    NewInteraction,
    NewPredicate,
    NewProject,
    NewUser,
)
from jobs.scopes import PROJECT, USER, Role
from jobs.service import ProjectService
from stoker import EntryKey, Event, Invalidation, Settings, Stoker
from stoker.embedded import Urls
from stoker.settings import CacheSettings
from stoker.tables import cache_events

CLASSIFICATION = NewClassification(
    device_class="II", product_code="DQA", regulation_number="870.2700", confidence=0.91
)
PREDICATE = NewPredicate(k_number="K041234", device_name="Nonin Onyx 9500", similarity=0.87)
DOCUMENT = NewDocument(title="Bench test", kind="test_report", size_bytes=2048)
INTERACTION = NewInteraction(agent="classifier", summary="Class II, 870.2700")

PARAMETERS: dict[str, Sequence[dict[str, Any]]] = {
    "list": ({}, {"status": "draft"}, {"q": "alpha"}, {"device_type": "Pulse Oximeter"}, {"limit": 1}),
    "search": ({"query": "oximeter"}, {"query": "beta"}, {"query": "renamed"}),
    "export": ({}, {"format": "csv"}),
}


@dataclass(frozen=True)
class World:
    """Ids of all there is, and the services on it."""

    stoker: Stoker
    service: ProjectService
    ann: int
    ben: int
    cid: int
    dot: int
    alpha: int
    beta: int
    classification: int
    predicate: int
    document: int
    interaction: int

    async def snapshot(self) -> dict[EntryKey, Any]:
        """Every view of every scope, from its loader; what does not exist is left out."""
        async with self.stoker.session() as session:
            projects = [PROJECT.scope(number) for number in range(1, self.beta + 5)]
            users = [USER.scope(number) for number in (self.ann, self.ben, self.cid, self.dot)]
            values: dict[EntryKey, Any] = {}
            for view in domain.views:
                scopes = projects if view.scope == PROJECT.name else users
                asked = PARAMETERS.get(view.name, ({},))
                keys = [view.key(scope, params or None) for scope in scopes for params in asked]
                values.update(await view.load(session, keys))
            return values

    async def events(self, recorded_by: str = "") -> list[Event]:
        """What was recorded, by somebody or by anybody, in order."""
        async with self.stoker.session() as session:
            rows = await session.execute(
                select(cache_events.c.kind, cache_events.c.payload)
                .where(cache_events.c.recorded_by.startswith(recorded_by))
                .order_by(cache_events.c.id)
            )
            return [domain.rules_by_kind[kind].event.model_validate(payload) for kind, payload in rows]

    async def transactions_of(self, kind: type[Event]) -> list[int]:
        """The transactions that recorded an event of a kind, in the order of their recording."""
        async with self.stoker.session() as session:
            found = select(cache_events.c.transaction_id).where(cache_events.c.kind == kind.kind)
            return list(await session.scalars(found.order_by(cache_events.c.id)))

    async def invalidated_by(self, event: Event) -> list[Invalidation]:
        """All that an event's rule says, with the audience of now."""
        rule = domain.rules_by_kind[event.kind]
        found = list(rule.invalidates(event))
        if rule.audience is not None:
            async with self.stoker.session() as session:
                found.extend(await rule.audience(session, [event]))
        return found


def settings(database_url: str, urls: Urls, prefix: str) -> Settings:
    """Settings of a test's own database and key prefix."""
    return Settings(
        database_url=SecretStr(database_url),
        redis_url=SecretStr(urls.queue),
        cache_redis_url=SecretStr(urls.cache),
        cache=CacheSettings(prefix=prefix),
    )


@asynccontextmanager
async def opened_world(settings: Settings) -> AsyncIterator[World]:
    """A Stoker and the world, written through the service."""
    async with Stoker.opened(settings, domain) as stoker:
        yield await _world(stoker)


async def _world(stoker: Stoker) -> World:
    service = ProjectService(stoker)
    people = [
        (await service.create_user(NewUser(name=name, email=f"{name.lower()}@example.com")))[0]
        for name in ("Ann", "Ben", "Cid", "Dot")
    ]
    ann, ben, cid, dot = people
    new = NewProject(name="Alpha", device_type="Pulse Oximeter", intended_use="Measures saturation")
    alpha = (await service.create_project(ann, new))[0].id
    beta = (await service.create_project(ben, NewProject(name="Beta", device_type="Cuff")))[0].id
    await service.add_member(ann, alpha, ben, Role.EDITOR)
    await service.add_member(ann, alpha, cid, Role.VIEWER)
    return World(
        stoker,
        service,
        ann,
        ben,
        cid,
        dot,
        alpha,
        beta,
        classification=(await service.add_classification(ann, alpha, CLASSIFICATION))[0].id,
        predicate=(await service.add_predicate(ben, alpha, PREDICATE))[0].id,
        document=(await service.add_document(ann, alpha, DOCUMENT))[0].id,
        interaction=(await service.add_interaction(ben, alpha, INTERACTION))[0].id,
    )
