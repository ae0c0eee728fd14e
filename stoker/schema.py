"""Stoker's tables in a schema of another name than `stoker`.

Statements name the schema `stoker`. Where the setting database.schema_name has another name, the statements
of an engine are rewritten right before they are sent: the name in front of Stoker's own tables, nothing else.
"""

from __future__ import annotations

import re
from weakref import WeakSet

from sqlalchemy import Engine, event

from stoker.tables import SCHEMA, metadata

_TABLES = "|".join(sorted(table.name for table in metadata.tables.values()))
_OURS = re.compile(rf"\b{SCHEMA}\.(?=(?:{_TABLES})\b)")
_renamed: WeakSet[Engine] = WeakSet()
"""Of two engines on one pool, one with other options, each has listeners of its own."""


def use_schema(engine: Engine, name: str) -> None:
    """Let the statements of an engine find Stoker's tables in this schema; a second call changes nothing."""
    if name == SCHEMA or engine in _renamed:
        return
    _renamed.add(engine)
    prefix = f"{name}."

    def rewrite(
        _connection: object, _cursor: object, statement: str, parameters: object, *_: object
    ) -> tuple[str, object]:
        return _OURS.sub(prefix, statement), parameters

    event.listen(engine, "before_cursor_execute", rewrite, retval=True)
