"""What `stoker check` says of coverage: nothing where every column that is read is seen and recorded.

Not finding out within a few seconds is no error; `stoker cover` has no such limit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

from stoker.coverage.cover import NO_SAMPLE, ViewCoverage, cover
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
    return [*_uncovered(views), *_unseen(views)]


def _uncovered(views: Sequence[ViewCoverage]) -> Iterator[str]:
    read = {f"{one.table}.{one.column or '(rows)'}" for view in views for one in view.reads}
    left = sorted({f"{one.table}.{one.column or '(rows)'}" for view in views for one in view.uncovered})
    if left:
        more = f" and {len(left) - NAMED} more" if len(left) > NAMED else ""
        said = f"nothing records changes of {len(left)} of the {len(read)} columns that views read"
        yield f"{said}: {', '.join(left[:NAMED])}{more}; run stoker cover"


def _unseen(views: Sequence[ViewCoverage]) -> Iterator[str]:
    """An empty table is no reason to warn: a new installation has many."""
    names = [view.view for view in views if set(view.unseen) - {NO_SAMPLE}]
    if names:
        yield f"not all that these views read can be seen: {', '.join(names)}; run stoker cover"
