"""Other values for a column of a row: ids and values that there are, then made ones of its type, then NULL.

Postgres refuses what constraints forbid; that costs one attempt.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

from stoker.coverage.facts import ColumnFacts

VALUES = 6
"""Values that are tried at most for one column of one row."""
THERE = 2
"""How many of these are values that other rows have."""
LARGE = 1_000_003
UUID = "5704e200-0000-4000-8000-00000000c0de"
OF_CATEGORY: dict[str, Sequence[str]] = {
    "D": ("2001-02-03 04:05:06", "2101-02-03 04:05:06"),
    "T": ("7 days", "1 minute"),
    "A": ("{}",),
    "I": ("192.0.2.7",),
    "G": ("(1,2)",),
    "R": ("empty",),
}
"""Values by `pg_type.typcategory`: times, intervals, arrays, addresses, points, ranges."""
OF_TYPE: dict[str, Sequence[str]] = {
    "uuid": (UUID,),
    "json": ('{"stoker": 1}',),
    "jsonb": ('{"stoker": 1}',),
    "bytea": ("\\x5704",),
}


def others(
    column: ColumnFacts, old: str | None, ids: Sequence[str], there: Sequence[str]
) -> list[str | None]:
    """Values that differ from `old`. `ids`: those of its family; `there`: those of other rows."""
    if ids:
        found = dict.fromkeys([*ids, None] if column.nullable else ids)
    else:
        known = [one for one in there if one != old][:THERE]
        found = dict.fromkeys([*known, *made(column, old)][: VALUES - column.nullable])
        if column.nullable:
            found[None] = None
    found.pop(old, None)
    return list(found)[:VALUES]


def made(column: ColumnFacts, old: str | None) -> Iterator[str]:
    """Values of the column's type that are made up, the likeliest to be allowed first."""
    yield from (label for label in column.labels if label != old)
    if column.category == "B":
        yield "false" if old == "true" else "true"
    elif column.category == "N":
        yield from _numbers(old or "0")
    elif column.category == "S":
        yield from (f"x{old or ''}", f"x{(old or '')[1:]}", f"{old or ''}x")
    yield from OF_TYPE.get(column.type, OF_CATEGORY.get(column.category, ()))


def _numbers(old: str) -> Iterator[str]:
    with suppress(ValueError):
        number = float(old)
        if number != int(number):
            yield str(number / 2)
        yield from (str(int(number) + 1), str(int(number) - 1), str(int(number) + LARGE))
    yield "0"
