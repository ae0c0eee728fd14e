"""Who did what when: a row for each action of an operator, through the API or the CLI.

The row is written before the action or in its transaction: an action that cannot be audited is not done.
Arguments hold names and ids only, never payloads or tokens.
"""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pydantic import BaseModel
from sqlalchemy import insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from stoker.jobs import Job
from stoker.postgres import database_errors, fetched
from stoker.queue.answers import Enqueued
from stoker.queue.packing import clock_ms, new_job_id
from stoker.stoker import Stoker
from stoker.tables import audit_log


@dataclass(frozen=True)
class Actor:
    """Who acts: the name of a token or of a user of this machine, and from where."""

    name: str
    address: str | None = None


async def audit(session: AsyncSession, actor: Actor, action: str, arguments: Mapping[str, Any]) -> int:
    """Add the row to the session's transaction; returns its id."""
    added = insert(audit_log).values(
        actor=actor.name[:64],
        # Behind a trusted proxy the address may be any text that a caller wrote.
        address=None if actor.address is None else actor.address[:64],
        action=action,
        arguments=dict(arguments),
    )
    return int((await session.execute(added.returning(audit_log.c.id))).scalar_one())


@asynccontextmanager
async def acting(
    stoker: Stoker, actor: Actor, action: str, arguments: Mapping[str, Any]
) -> AsyncIterator[AsyncSession]:
    """A transaction with the action's row in it; what is written inside commits together with the row."""
    with database_errors():
        async with stoker.session() as session, session.begin():
            await audit(session, actor, action, arguments)
            yield session


async def act(stoker: Stoker, actor: Actor, action: str, arguments: Mapping[str, Any]) -> None:
    """Commit the action's row. The caller does the action after that."""
    async with acting(stoker, actor, action, arguments):
        pass


async def enqueue_audited(
    stoker: Stoker,
    actor: Actor,
    action: str,
    arguments: Mapping[str, Any],
    job: Job,
    delay: timedelta = timedelta(0),
) -> Enqueued:
    """Commit the action's row with the id that the job will have, then enqueue the job.

    Where the job coalesces, the row is changed to name the job that does the work.
    """
    job_id = new_job_id(clock_ms())
    with database_errors():
        async with stoker.session() as session, session.begin():
            row = await audit(session, actor, action, {**arguments, "job_id": job_id})
    asked = await stoker.queue.enqueue(job, delay=delay, job_id=job_id)
    if asked.job_id != job_id:
        joined = {**arguments, "job_id": asked.job_id, "answer": asked.answer}
        with database_errors():
            async with stoker.session() as session, session.begin():
                await session.execute(update(audit_log).where(audit_log.c.id == row).values(arguments=joined))
    return asked


class AuditEntry(BaseModel):
    """An action of an operator."""

    id: int
    at: datetime
    actor: str
    address: str | None
    action: str
    arguments: dict[str, Any]


class AuditList(BaseModel):
    """A page of them, the latest first; ask for what is `before` the last id for the next page."""

    entries: list[AuditEntry]


async def audited(
    engine: AsyncEngine, actor: str | None, action: str | None, limit: int, before: int | None = None
) -> AuditList:
    """The actions that were done. `action` may be the first part of a name, such as `cache`."""
    columns = audit_log.c
    query = select(audit_log).order_by(columns.id.desc()).limit(limit)
    if actor is not None:
        query = query.where(columns.actor == actor)
    if action is not None:
        query = query.where(
            or_(columns.action == action, columns.action.startswith(f"{action}.", autoescape=True))
        )
    if before is not None:
        query = query.where(columns.id < before)
    return AuditList(entries=[AuditEntry(**row) for row in await fetched(engine, query)])


def local_actor(name: str | None = None) -> Actor:
    """Who runs a command: the name that was given, who called sudo, or the user of this process.

    The address is the user and the machine that the command really runs as.
    """
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # in a container the user id may have no name
        user = str(os.getuid())
    human = name or os.environ.get("SUDO_USER") or user
    return Actor(f"cli:{human}", f"{user}@{socket.gethostname()}")
