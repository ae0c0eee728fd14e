"""The page of a project: the expensive read that the cache exists for."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy.ext.asyncio import AsyncSession

from jobs.queries.statement import Value, statement, values_by_id

_DASHBOARD = statement("dashboard")

ENOUGH_PREDICATES = 3
"""Predicate devices that a comparison needs to count as done."""


async def dashboards(session: AsyncSession, project_ids: Iterable[int]) -> dict[int, Value]:
    """The dashboard of each project that exists, in one statement for any number of them."""
    values = await values_by_id(session, _DASHBOARD, project_ids)
    return {number: {**value, "progress": progress(value)} for number, value in values.items()}


def progress(dashboard: Value) -> Value:
    """What is done on the way to a submission, and its share in percent."""
    statistics = dashboard["statistics"]
    steps = {
        "intended_use": bool(dashboard["intended_use"]),
        "classification": dashboard["classification"] is not None,
        "predicates": statistics["predicates"] >= ENOUGH_PREDICATES,
        "predicate_selected": statistics["predicates_selected"] > 0,
        "documents": statistics["documents"] > 0,
    }
    done = dashboard["status"] == "completed"
    return {"percent": 100 if done else round(100 * sum(steps.values()) / len(steps)), "steps": steps}
