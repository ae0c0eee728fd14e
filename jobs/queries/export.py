"""A project as a file: JSON as it is, CSV as one table of records."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator

from sqlalchemy.ext.asyncio import AsyncSession

from jobs.queries.statement import Value, statement, values_by_id

_EXPORT = statement("export")
_HEADER = ("record", "id", "name", "text", "figure", "at")


async def exports(session: AsyncSession, project_ids: Iterable[int]) -> dict[int, Value]:
    """All that each project contains."""
    return await values_by_id(session, _EXPORT, project_ids)


def as_csv(export: Value) -> Value:
    """The same as `{revision, filename, content_type, text}`, a row per record (RFC 4180)."""
    page = io.StringIO()
    writer = csv.writer(page)
    writer.writerow(_HEADER)
    writer.writerows([_safe(cell) for cell in row] for row in _rows(export))
    return {
        "revision": export["revision"],
        "filename": f"project-{export['project']['id']}.csv",
        "content_type": "text/csv; charset=utf-8",
        "text": page.getvalue(),
    }


def _rows(export: Value) -> Iterator[tuple[object, ...]]:
    project = export["project"]
    yield (
        "project",
        project["id"],
        project["name"],
        project["intended_use"],
        project["status"],
        project["updated_at"],
    )
    for item in export["classifications"]:
        code = f"{item['product_code']} {item['regulation_number']}"
        yield "classification", item["id"], item["device_class"], code, item["confidence"], item["created_at"]
    for item in export["predicates"]:
        name = f"{item['device_name']}{' (selected)' if item['selected'] else ''}"
        yield "predicate", item["id"], item["k_number"], name, item["similarity"], ""
    for item in export["documents"]:
        yield "document", item["id"], item["kind"], item["title"], item["size_bytes"], item["created_at"]
    for item in export["interactions"]:
        yield "interaction", item["id"], item["agent"], item["summary"], "", item["created_at"]


def _safe(cell: object) -> object:
    # A spreadsheet would run a text that starts like a formula (OWASP: CSV injection).
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell
