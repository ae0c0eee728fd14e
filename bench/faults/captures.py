"""Faults of captures: of their declarations, and of their triggers in the database."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from sqlalchemy import BigInteger

from bench.faults.fault import Fault
from bench.faults.ground import Ground
from jobs import domain
from jobs.tables import metadata
from stoker import Capture
from stoker.captures.function import ON, name_of


def lacks_a_column(ground: Ground) -> Iterator[Fault]:
    """A column that views read is not watched any more."""
    for capture in domain.captures:
        kept = {*capture.fields.values(), *(one.name for one in metadata.tables[capture.table].primary_key)}
        watched = ground.watched(capture)
        for column in watched:
            if column not in kept and (capture.table, column) in ground.reads:
                columns = tuple(one for one in watched if one != column)
                yield _with(capture, replace(capture, columns=columns), column)


def is_not_declared(_: Ground) -> Iterator[Fault]:
    """The table, or some of its columns, is not captured at all."""
    for capture in domain.captures:
        yield _with(capture, None, "")


def names_another_column(_: Ground) -> Iterator[Fault]:
    """A field of the event is filled from another column: the scope is wrong."""
    for capture in domain.captures:
        table = metadata.tables[capture.table]
        for field, column in capture.fields.items():
            for other in table.columns:
                if isinstance(other.type, BigInteger) and other.name != column:
                    fields = {**capture.fields, field: other.name}
                    yield _with(capture, replace(capture, fields=fields), f"{field} from {other.name}")


def has_a_disabled_trigger(_: Ground) -> Iterator[Fault]:
    """Somebody disabled one of its triggers."""
    for capture in domain.captures:
        for event in ON:
            disable = f'ALTER TABLE {capture.table} DISABLE TRIGGER "stoker_{name_of(capture)}_{event}"'
            yield Fault(_place(capture, event), domain, [disable])


def has_a_dropped_trigger(_: Ground) -> Iterator[Fault]:
    """Somebody dropped one of its triggers."""
    for capture in domain.captures:
        for event in ON:
            drop = f'DROP TRIGGER "stoker_{name_of(capture)}_{event}" ON {capture.table}'
            yield Fault(_place(capture, event), domain, [drop])


def _with(capture: Capture, other: Capture | None, where: str) -> Fault:
    changed = (other if one is capture else one for one in domain.captures)
    captures = tuple(one for one in changed if one is not None)
    return Fault(_place(capture, where), replace(domain, captures=captures))


def _place(capture: Capture, where: str) -> str:
    return f"{capture.table}, {capture.event.kind}{where and f': {where}'}"
