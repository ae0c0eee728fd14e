"""The SQL function `stoker.invalidate`, by which any program of the database invalidates a scope by hand.

It knows the domain's scope kinds and views, so that a misspelt name is refused where it is written; `stoker
migrate` brings it up to date. Only its owner may call it until that is granted to others.
"""

from __future__ import annotations

import json
import re
from importlib.resources import files

from sqlalchemy.ext.asyncio import AsyncConnection

from stoker.cache.view import NUMBER, TEXT
from stoker.captures.function import literal, quoted
from stoker.domain import Domain
from stoker.outbox.record import InvalidationRequested

FUNCTION = files("stoker.outbox").joinpath("by_hand.sql").read_text()
SIGNATURE = "invalidate(text, text, text[], boolean)"


async def make_invalidate(connection: AsyncConnection, domain: Domain, schema: str) -> None:
    """Make the function, or bring it up to date."""
    known = {
        kind.name: {
            "id": f"^({(NUMBER if kind.id_type is int else TEXT).pattern})$",
            "views": sorted(domain.view_names_by_scope[kind.name]),
        }
        for kind in domain.scopes
    }
    filled = {
        "schema": quoted(schema),
        "kind": literal(InvalidationRequested.kind),
        "known": f"CAST({literal(json.dumps(known, sort_keys=True))} AS jsonb)",
    }
    text = FUNCTION[FUNCTION.index("CREATE") :]
    await connection.exec_driver_sql(re.sub(r"\{\{(\w+)\}\}", lambda found: filled[found[1]], text))
    await connection.exec_driver_sql(f"REVOKE EXECUTE ON FUNCTION {quoted(schema)}.{SIGNATURE} FROM PUBLIC")
