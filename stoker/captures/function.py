"""The SQL of a capture: its trigger function, its triggers, and a digest of both."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files

from stoker.captures.declared import Capture
from stoker.captures.table import TableFacts
from stoker.rules import ASK_RULE, EVERY_SCOPE
from stoker.tables import SCHEMA

FUNCTION = files("stoker.captures").joinpath("function.sql").read_text()
COMMENT = "stoker capture"
"""Prefix of the comment of each trigger function; the digest follows."""
ON = ("insert", "update", "delete", "truncate")
TRANSITIONS = {
    "insert": "REFERENCING NEW TABLE AS new_rows",
    "update": "REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows",
    "delete": "REFERENCING OLD TABLE AS old_rows",
    "truncate": "",
}
MANY = 1000
"""Rows of an UPDATE from which on it is tried to do without comparing each."""
ORIGIN, ALWAYS, REPLICA = "O", "A", "R"
"""When a trigger fires, as pg_trigger.tgenabled says it."""
ENABLE = {ORIGIN: "ENABLE", ALWAYS: "ENABLE ALWAYS", REPLICA: "ENABLE REPLICA"}


@dataclass(frozen=True, slots=True)
class Trigger:
    """A trigger that should stand."""

    table: str
    name: str
    fires: str
    made_by: str

    @property
    def statements(self) -> tuple[str, str]:
        """What makes it, also where another one of its name stands."""
        fires = f"ALTER TABLE {self.table} {ENABLE[self.fires]} TRIGGER {quoted(self.name)}"
        return f"CREATE OR REPLACE TRIGGER {quoted(self.name)} {self.made_by}", fires


@dataclass(frozen=True, slots=True)
class Generated:
    """What should stand in the database for a capture."""

    capture: Capture
    table: str
    name: str
    function: str
    triggers: Sequence[Trigger]
    schema: str

    @property
    def digest(self) -> str:
        """Of all that the capture consists of, whatever tables there are."""
        parts = [self.function, *sorted({f"{one.name} {one.fires}" for one in self.triggers})]
        return sha256("\n".join(parts).encode()).hexdigest()[:16]

    @property
    def comment(self) -> str:
        """What the function's comment says."""
        return f"{COMMENT} {self.digest}: {self.table} records {self.capture.event.kind}"

    @property
    def whole(self) -> str:
        """An event that invalidates what this capture cannot name row by row."""
        return (
            f"INSERT INTO {quoted(self.schema)}.cache_events (kind, payload, scopes, recorded_by) VALUES "
            f"({literal(self.capture.event.kind)}, 'null', {_stored(self.capture, EVERY_SCOPE)}, 'migrate')"
        )


def generate(capture: Capture, facts: TableFacts, schema: str = SCHEMA) -> Generated:
    """The function and triggers of a capture. `schema`: that of Stoker's tables."""
    name = name_of(capture)
    called = f"{quoted(schema)}.{quoted(name)}"
    filled = _filled(capture, facts, called, schema)
    function = re.sub(r"\{\{(\w+)\}\}", lambda found: filled[found[1]], FUNCTION[FUNCTION.index("CREATE") :])
    return Generated(capture, facts.name, name, function, list(_triggers(name, called, facts)), schema)


def quoted(name: str) -> str:
    """A name as SQL takes it."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: str) -> str:
    """A text as SQL takes it."""
    plain = value.replace("'", "''")
    return f"E'{plain.replace(chr(92), chr(92) * 2)}'" if "\\" in plain else f"'{plain}'"


def name_of(capture: Capture) -> str:
    """Of the function: a digest tells captures of one table apart, and names that are cut."""
    digest = sha256(f"{capture.table}\0{capture.event.kind}".encode()).hexdigest()[:8]
    plain = re.sub(r"[^a-z0-9]+", "_", capture.table.lower()).strip("_")[:24]
    return f"capture_{plain}_{digest}"


def _filled(capture: Capture, facts: TableFacts, called: str, schema: str) -> dict[str, str]:
    columns = list(capture.fields.values())
    pairs = [f"{literal(name)}, s.f{place}" for place, name in enumerate(capture.fields)]
    return {
        "function": called,
        "guc": literal(f"stoker.{name_of(capture)}"),
        "events": f"{quoted(schema)}.cache_events",
        "table": literal(facts.name),
        "kind": literal(capture.event.kind),
        "recorded_by": literal(f"trigger {facts.name}"),
        "ask": _stored(capture, ASK_RULE),
        "whole": _stored(capture, EVERY_SCOPE),
        "most": str(capture.most),
        "many": str(MANY),
        "object": f"jsonb_build_object({', '.join(pairs)})",
        "proven_object": f"CASE WHEN s.proven THEN jsonb_build_object({', '.join(pairs)}) END",
        "witness": _witness(capture, facts),
        "proven": _proven(capture, facts),
        "single": _single(capture, facts),
        "inserted": f"SELECT DISTINCT {_fields('n', columns, facts)} FROM new_rows AS n",
        "deleted": f"SELECT DISTINCT {_fields('o', columns, facts)} FROM old_rows AS o",
        "updated": _by_key(capture, facts) if facts.key else _by_text(columns, facts),
        "old": _row("OLD", capture, facts),
        "new": _row("NEW", capture, facts),
        "changed": _changed(capture, "OLD", "NEW"),
    }


def _single(capture: Capture, facts: TableFacts) -> str:
    """The set of two rows: null in JSON where neither watched columns nor key changed, NULL where it did."""
    columns = list(capture.fields.values())
    differ = _changed(capture, "o", "n", [name for name, _ in facts.key]) if facts.key else _whole("o", "n")
    moved = f" WHEN {_differ('o', 'n', columns)} THEN NULL" if columns else ""
    return (
        f"SELECT CASE WHEN NOT {differ} THEN CAST('null' AS jsonb){moved}"
        f" ELSE {_row('n', capture, facts)} END FROM old_rows AS o CROSS JOIN new_rows AS n"
    )


def _proven(capture: Capture, facts: TableFacts) -> str:
    """Each set of fields, and whether rows of it certainly changed: sums of hashes, old and new, differ.

    Equal sums prove nothing: then the rows are compared. One column is enough for most statements: the one in
    which the first rows differ, the `witness`. Hashes are of texts, because some types have none.
    """
    numbers = range(max(1, len(capture.fields)))
    hashes = [
        f'hashtext(CAST(r.{quoted(name)} AS text) COLLATE "C")' for name in _beside_fields(capture, facts)
    ]
    chosen = " ".join(f"WHEN {number} THEN {one}" for number, one in enumerate(hashes))
    every = " # ".join(f"coalesce({one}, 0)" for one in hashes)
    weight = f"sum(CASE stoker.witness {chosen} ELSE {every} END)" if hashes else "count(*)"

    def side(rows: str, sign: str) -> str:
        places = ", ".join(str(number + 1) for number in numbers)
        fields = _fields("r", list(capture.fields.values()), facts)
        return f"SELECT {fields}, {sign}{weight} AS h FROM {rows} AS r GROUP BY {places}"

    sets = ", ".join(f"f{number}" for number in numbers)
    both = f"{side('old_rows', '-')} UNION ALL {side('new_rows', '+')}"
    return f"SELECT {sets}, coalesce(sum(h), 0) <> 0 AS proven FROM ({both}) AS b GROUP BY {sets}"


def _witness(capture: Capture, facts: TableFacts) -> str:
    """The first column in which the first rows differ, as a number; NULL where they do not."""
    chosen = " ".join(
        f"WHEN {_differ('o', 'n', [name])} THEN {number}"
        for number, name in enumerate(_beside_fields(capture, facts))
    )
    number = f"CASE {chosen} END" if chosen else "NULL"
    return f"SELECT {number} FROM old_rows AS o CROSS JOIN new_rows AS n LIMIT 1"


def _beside_fields(capture: Capture, facts: TableFacts) -> list[str]:
    """The columns that are watched, but for those of `fields`."""
    watched = facts.columns if capture.columns is None else capture.columns
    return [name for name in watched if name not in capture.fields.values()]


def _by_key(capture: Capture, facts: TableFacts) -> str:
    """The sets of rows that were changed, added or taken away: old and new rows meet by the primary key."""
    columns = list(capture.fields.values())
    key = facts.key[0][0]
    no_old, no_new = f"o.{quoted(key)} IS NULL", f"n.{quoted(key)} IS NULL"
    meet = " AND ".join(f"o.{quoted(one)} {operator} n.{quoted(one)}" for one, operator in facts.key)
    numbers = range(max(1, len(columns)))
    a, b, f = (", ".join(f"{name}{number}" for number in numbers) for name in ("p.a", "p.b", "f"))
    return (
        # Grouped first: of 100,000 rows of 1,000 sets, 1,000 are left to be taken apart.
        f"SELECT DISTINCT {', '.join(f'v.f{number}' for number in numbers)} FROM ("
        f"SELECT {_fields('o', columns, facts, 'a')}, {_fields('n', columns, facts, 'b')},"
        f" {no_old} AS no_old, {no_new} AS no_new"
        f" FROM old_rows AS o FULL JOIN new_rows AS n ON {meet}"
        f" WHERE {no_old} OR {no_new} OR {_changed(capture, 'o', 'n')}"
        f" GROUP BY {', '.join(str(number + 1) for number in range(2 * len(numbers) + 2))}) AS p"
        f" CROSS JOIN LATERAL (VALUES (p.no_old, {a}), (p.no_new, {b})) AS v(missing, {f})"
        " WHERE NOT v.missing"
    )


def _by_text(columns: Sequence[str], facts: TableFacts) -> str:
    """The same without a primary key: the rows, as texts, that are only among the old or the new."""
    numbers = range(max(1, len(columns)))
    old = f"SELECT {_fields('o', columns, facts)}, CAST(ROW(o.*) AS text) AS row FROM old_rows AS o"
    new = f"SELECT {_fields('n', columns, facts)}, CAST(ROW(n.*) AS text) AS row FROM new_rows AS n"
    return (
        f"SELECT DISTINCT {', '.join(f'd.f{number}' for number in numbers)} FROM ("
        f"({old} EXCEPT ALL {new}) UNION ALL ({new} EXCEPT ALL {old})) AS d"
    )


def _fields(of: str, columns: Sequence[str], facts: TableFacts, prefix: str = "f") -> str:
    if not columns:
        return f"true AS {prefix}0"
    return ", ".join(
        f"{_value(of, column, facts)} AS {prefix}{number}" for number, column in enumerate(columns)
    )


def _value(of: str, column: str, facts: TableFacts) -> str:
    """A column of a row. Texts that their type or collation takes for equal are two sets nevertheless."""
    plain = f"{of}.{quoted(column)}"
    return f'CAST({plain} AS text) COLLATE "C"' if facts.columns[column].is_text else plain


def _row(of: str, capture: Capture, facts: TableFacts) -> str:
    pairs = [f"{literal(name)}, {_value(of, column, facts)}" for name, column in capture.fields.items()]
    return f"jsonb_build_object({', '.join(pairs)})"


def _changed(capture: Capture, old: str, new: str, more: Sequence[str] = ()) -> str:
    """Compares images of rows: some types, such as json, have no operator of equality."""
    if capture.columns is None:
        return _whole(old, new)
    return _differ(old, new, dict.fromkeys([*capture.fields.values(), *capture.columns, *more]))


def _differ(old: str, new: str, columns: Iterable[str]) -> str:
    old_row, new_row = (", ".join(f"{of}.{quoted(one)}" for one in columns) for of in (old, new))
    return f"record_image_ne(ROW({old_row}), ROW({new_row}))"


def _whole(old: str, new: str) -> str:
    # Not the names alone: a column may have such a name.
    whole_old, whole_new = (of if of.isupper() else f"ROW({of}.*)" for of in (old, new))
    return f"record_image_ne({whole_old}, {whole_new})"


def _stored(capture: Capture, mark: str) -> str:
    """The scopes of an event that a trigger records."""
    every = not capture.views
    return literal(json.dumps([[mark, "", sorted(capture.views), int(every), int(every)]]))


def _triggers(name: str, called: str, facts: TableFacts) -> Sequence[Trigger]:
    """On each table that a statement may name. Postgres itself copies triggers of rows to partitions."""
    triggers = []
    for written in facts.written:
        for event in ON:
            made_by = (
                f"AFTER {event.upper()} ON {written.name} {TRANSITIONS[event]} FOR EACH STATEMENT"
                f" EXECUTE FUNCTION {called}()"
            )
            fires = ALWAYS if event == "truncate" else ORIGIN
            triggers.append(Trigger(written.name, f"stoker_{name}_{event}", fires, made_by))
        if written.oid == facts.oid or not written.is_partition:
            made_by = (
                f"AFTER INSERT OR UPDATE OR DELETE ON {written.name} FOR EACH ROW EXECUTE FUNCTION {called}()"
            )
            triggers.append(Trigger(written.name, f"stoker_{name}_row", REPLICA, made_by))
    return triggers
