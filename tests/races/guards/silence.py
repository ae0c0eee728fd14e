"""Guards against a Postgres that stops answering: checks of connections, and time limits (rows 7, 38, 39)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

from sqlalchemy import event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine

import stoker.cache.fill
import stoker.driver
import stoker.outbox.receipt
import stoker.postgres.checkout
import stoker.postgres.engines
import stoker.postgres.questions
import stoker.revocation
from stoker.driver import LimitedEngine
from stoker.silence import Silence
from tests.races.guards.away import NEVER_S, Patch, Removal, Unheard, replaced


def _statements_without_end(patch: Patch) -> None:
    engine_of = stoker.postgres.engines.engine_of

    def made(url: str, *, connect_args: Mapping[str, Any], **options: Any) -> LimitedEngine:  # noqa: ANN401
        return engine_of(url, connect_args={**connect_args, "command_timeout": None}, **options)

    patch.setattr(stoker.postgres.engines, "engine_of", made)


def _asked_nothing(engine: AsyncEngine, question: str, _limit_s: float) -> None:
    """Use a pooled connection without a check first; a loader's transaction begins at once."""
    if question is not stoker.postgres.checkout.PING:
        event.listen(
            engine.sync_engine,
            "checkout",
            lambda adapted, *_: adapted.run_async(lambda driver: driver.execute(question)),
        )


def _nobody_asks_first(patch: Patch) -> None:
    for module in (stoker.postgres.engines, stoker.postgres.checkout):
        patch.setattr(module, "ask_first", _asked_nothing)


async def _waited_for(work: Awaitable[object], _limit_s: float) -> object:
    return await work


GUARDS: Mapping[str, Removal] = {
    "pooled connections asked first": _nobody_asks_first,
    "no connection of a dead server's time trusted": replaced(
        stoker.postgres.checkout, "InvalidatePoolError", DisconnectionError
    ),
    "last words of a server heard": replaced(stoker.postgres.checkout, "InternalClientError", Unheard),
    "short questions that end": replaced(
        stoker.postgres.questions,
        "asyncio",
        SimpleNamespace(**{**vars(asyncio), "timeout": lambda _: nullcontext()}),
    ),
    "statements that end": _statements_without_end,
    "silence noticed": replaced(Silence, "_doubt", lambda *_: None),
    "reads that end": replaced(stoker.cache.fill, "in_time", _waited_for),
    "goodbyes that end": replaced(stoker.driver, "GOODBYE_S", 15),
    "receipts that end": replaced(stoker.outbox.receipt, "SILENCE_S", NEVER_S),
    "applied here if nobody can tell": replaced(stoker.revocation, "Unavailable", Unheard),
}
