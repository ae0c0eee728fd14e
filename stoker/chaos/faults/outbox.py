"""Faults in the outbox: events that cannot be applied until they are healed."""

from __future__ import annotations

import asyncio

from sqlalchemy import text

from stoker.chaos.scene import Scene
from stoker.chaos.slots import Slot
from stoker.chaos.surroundings import POISON
from stoker.errors import DatabaseUnavailable
from stoker.postgres import database_errors


async def poison_event(scene: Scene, _slot: Slot | None, lasts_s: float) -> None:
    """An event whose rule raises until it is healed; the others must go on meanwhile (RACES 36)."""
    scene.healed.unlink(missing_ok=True)
    try:
        kind, scope_id = scene.poisoned_scope
        await scene.driver.aside(POISON, {"scope_kind": kind, "scope_id": scope_id})
        await asyncio.sleep(lasts_s)
    finally:
        scene.healed.touch()


async def unreadable_event(scene: Scene, _slot: Slot | None, lasts_s: float) -> None:
    """A row whose scopes cannot be read, until an operator repairs it."""
    try:
        await _execute(scene, _UNREADABLE)
        await asyncio.sleep(lasts_s)
    finally:
        while not await _execute(scene, _REPAIRED):  # noqa: ASYNC110 - nobody tells when it is back
            await asyncio.sleep(0.2)  # Postgres is away


async def _execute(scene: Scene, statement: str) -> bool:
    try:
        with database_errors():
            async with scene.sql.begin() as connection:
                await connection.execute(text(statement))
    except DatabaseUnavailable:
        return False
    return True


_UNREADABLE = """
INSERT INTO stoker.cache_events (kind, payload, scopes)
VALUES ('chaos.unreadable', '{}', '[["nobody reads this"]]')
"""
_REPAIRED = """
UPDATE stoker.cache_events SET scopes = '[]' WHERE kind = 'chaos.unreadable' AND settled_at IS NULL
"""
