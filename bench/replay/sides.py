"""The two sides: Stoker with a worker process, and the earlier layer, on the same SQL and services."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any, cast

from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session

from bench.peers.earlier_layer import EarlierLayer, project_key, user_key
from bench.replay.play import Effect
from bench.replay.trace import Edit, Read, Team, Write
from jobs.inputs import NewInteraction, PredicateChanges, ProjectChanges
from jobs.params import ExportParams, ListParams, SearchParams
from jobs.scopes import Role
from jobs.service import ProjectService
from jobs.writes.writer import Result, Written
from stoker import Applied, Event, Receipt, State, Stoker
from stoker.outbox.record import AnySession

PATIENCE = timedelta(seconds=20)


class NothingRecorded:
    """Stands where a receipt stands: there is no event to follow."""

    async def applied(self, _timeout: timedelta | None = None) -> Applied:
        """At once."""
        return Applied.APPLIED


class Unrecorded(Stoker):
    """SQL as the services use it, without events: what the earlier layer's writes do."""

    def record(self, session: AnySession, event: Event) -> Receipt:
        """Forget the event."""
        return cast("Receipt", NothingRecorded())

    async def commit_revocation(self, session: AsyncSession | async_scoped_session[Any]) -> None:
        """Commit and no more: the earlier layer invalidates afterwards."""
        await session.commit()


class Writes:
    """What both sides write, through the same services."""

    def __init__(self, stoker: Stoker) -> None:
        self._service = ProjectService(stoker)
        self._number = 0

    async def write(self, write: Write) -> Result:
        """One write, by the project's owner."""
        service, project, actor = self._service, write.project, write.actor
        self._number += 1
        match write.edit:
            case Edit.PROJECT:
                changed = ProjectChanges(
                    intended_use=f"Measures what matters, in its version {self._number}."
                )
                return await service.update_project(actor, project, changed)
            case Edit.PREDICATE:
                similarity = PredicateChanges(similarity=self._number % 1000 / 1000)
                return await service.update_predicate(actor, project, write.item, similarity)
            case Edit.INTERACTION:
                said = NewInteraction(agent="regulatory", summary=f"Answer {self._number}.")
                return await service.add_interaction(actor, project, said)
            case Edit.ADD_MEMBER:
                return await service.add_member(actor, project, write.user, Role.VIEWER)
            case Edit.REMOVE_MEMBER:
                return await service.remove_member(actor, project, write.user)


class Ours:
    """Stoker: a change is in effect when its event is applied."""

    def __init__(self, stoker: Stoker) -> None:
        self._stoker = stoker
        self._writes = Writes(stoker)

    async def read(self, read: Read) -> tuple[Any, bool]:
        """A read checks access, whatever is cached."""
        scope = read.project or read.reader
        reading = await self._stoker.read(read.view, scope, read.params or None, reader=read.reader)
        return reading.value, reading.state is State.HIT

    async def commit(self, write: Write) -> tuple[Written, Effect]:
        """Record the event in the write's own transaction, then wait for the worker."""
        written, receipt = await self._writes.write(write)
        return written, partial(_until_applied, receipt)


async def _until_applied(receipt: Receipt) -> None:
    applied = await receipt.applied(PATIENCE)
    assert applied is Applied.APPLIED, f"a change is {applied} after {PATIENCE}"


class Theirs:
    """The earlier layer: a change is in effect when the inline invalidation has ended."""

    def __init__(self, stoker: Stoker, layer: EarlierLayer) -> None:
        self._writes = Writes(stoker)
        self._service = ProjectService(stoker)
        self._layer = layer

    async def read(self, read: Read) -> tuple[Any, bool]:
        """Only what is loaded is asked for in the reader's name."""
        place = ":".join((read.view, *(f"{name}={value}" for name, value in sorted(read.params.items()))))
        key = project_key(read.project, place) if read.project else user_key(read.reader, place)
        return await self._layer.read(read.view, key, partial(self._load, read))

    async def commit(self, write: Write) -> tuple[Written, Effect]:
        """SQL, then the invalidation in the same request."""
        written, _ = await self._writes.write(write)
        return written, partial(self._invalidate, write)

    async def _invalidate(self, write: Write) -> None:
        """Invalidate as the document says; it names no rule for members: what their user sees is dropped."""
        match write.edit:
            case Edit.PROJECT:
                await self._layer.project_updated(write.project, write.actor)
            case Edit.PREDICATE | Edit.INTERACTION:
                await self._layer.contents_updated(write.project)
            case Edit.ADD_MEMBER | Edit.REMOVE_MEMBER:
                await self._layer.user_changed(write.user)

    async def _load(self, read: Read) -> Any:  # noqa: ANN401 - JSON of any view
        match read.view:
            case "list":
                return await self._service.list_projects(read.reader, ListParams.model_validate(read.params))
            case "search":
                return await self._service.search(read.reader, SearchParams.model_validate(read.params))
            case "stats":
                return await self._service.stats(read.reader)
            case "export":
                params = ExportParams.model_validate(read.params)
                return await self._service.export(read.reader, read.project, params)
            case "detail":
                return await self._service.detail(read.reader, read.project)
            case _:
                return await self._service.dashboard(read.reader, read.project)


@asynccontextmanager
async def theirs(stoker: Stoker, redis: Redis, teams: dict[int, Team], pace: float) -> AsyncIterator[Theirs]:
    """The earlier layer with its warming, a task of the web process."""
    layer = EarlierLayer(redis, pace)
    side = Theirs(stoker, layer)

    async def dashboard(project: int) -> tuple[Any, bool]:
        return await side.read(Read("dashboard", teams[project].owner, project))

    warming = asyncio.create_task(layer.keep_warm(stoker.session, dashboard))
    try:
        yield side
    finally:
        warming.cancel()
        await asyncio.gather(warming, return_exceptions=True)
