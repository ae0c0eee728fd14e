"""What `stoker check` says of coverage: one sentence, and none where every column that is read is recorded.

Not finding out within a few seconds is no error; `stoker cover` has no such limit.
"""

from __future__ import annotations

import asyncio

from stoker.coverage.cover import cover
from stoker.domain import Domain
from stoker.errors import DatabaseUnavailable, DeclarationError
from stoker.tables import SCHEMA

PATIENCE_S = 10.0
"""Seconds that the sample entries may take to build."""
NAMED = 3
"""Columns that the sentence names."""


async def warnings(
    database_url: str, domain: Domain, *, schema: str = SCHEMA, patience_s: float = PATIENCE_S
) -> list[str]:
    """What is read and not recorded, or why that is not known."""
    try:
        async with asyncio.timeout(patience_s):
            views = await cover(database_url, domain, schema=schema)
    except (DatabaseUnavailable, DeclarationError) as error:
        return [f"coverage: {error}"]
    except TimeoutError:
        return [f"coverage was not found out within {patience_s:g} s: run stoker cover"]
    except Exception as error:  # noqa: BLE001 - of a loader, which the application wrote
        notes = "; ".join(getattr(error, "__notes__", ()))
        return [f"coverage: {notes or 'a warm plan failed'}: {type(error).__name__}: {error}".splitlines()[0]]
    read = {f"{one.table}.{one.column or '(rows)'}" for view in views for one in view.reads}
    left = sorted({f"{one.table}.{one.column or '(rows)'}" for view in views for one in view.uncovered})
    if not left:
        return []
    more = f" and {len(left) - NAMED} more" if len(left) > NAMED else ""
    said = f"nothing records changes of {len(left)} of the {len(read)} columns that views read"
    return [f"{said}: {', '.join(left[:NAMED])}{more}; run stoker cover"]
