"""Guards against a Postgres that goes without a word: who asks first, and for how long (rows 7, 38, 39)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

from sqlalchemy import event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine

import jobs.connections
import jobs.outbox.receipt
import jobs.projects.acknowledged
from tests.races.guards.away import NEVER_S, Patch, Removal, Unheard, replaced


def _statements_without_end(patch: Patch) -> None:
    engine_of = jobs.connections.engine_of

    def made(url: str, *, connect_args: Mapping[str, Any], **options: Any) -> AsyncEngine:  # noqa: ANN401
        return engine_of(url, connect_args={**connect_args, "command_timeout": None}, **options)

    patch.setattr(jobs.connections, "engine_of", made)


def _asked_nothing(engine: AsyncEngine, question: str, _limit_s: float) -> None:
    """Whoever takes a connection begins with what they want; a loader has no other beginning."""
    if question is not jobs.connections.PING:
        event.listen(
            engine.sync_engine,
            "checkout",
            lambda adapted, *_: adapted.run_async(lambda driver: driver.execute(question)),
        )


GUARDS: Mapping[str, Removal] = {
    "pooled connections asked first": replaced(jobs.connections, "_ask_first", _asked_nothing),
    "no connection of a dead server's time trusted": replaced(
        jobs.connections, "InvalidatePoolError", DisconnectionError
    ),
    "last words of a server heard": replaced(jobs.connections, "InternalClientError", Unheard),
    "short questions that end": replaced(
        jobs.connections,
        "asyncio",
        SimpleNamespace(**{**vars(asyncio), "timeout": lambda _: nullcontext()}),
    ),
    "statements that end": _statements_without_end,
    "receipts that end": replaced(jobs.outbox.receipt, "SILENCE_S", NEVER_S),
    "applied here if nobody can tell": replaced(jobs.projects.acknowledged, "Unavailable", Unheard),
}
