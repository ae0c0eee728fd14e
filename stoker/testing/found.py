"""How an assertion searches typed values, and what it says when none of them is right."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel

MOST_SHOWN = 20
M = TypeVar("M", bound=BaseModel)


def check_fields(kind: type[BaseModel], fields: Mapping[str, Any]) -> None:
    """Refuse what is no class, and a field that the class does not have: no value would ever match it."""
    __tracebackhide__ = True
    if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
        raise TypeError(f"give the class of the job or event, not {kind!r:.80}")
    if unknown := fields.keys() - kind.model_fields.keys():
        known = ", ".join(kind.model_fields) or "none"
        raise TypeError(f"{kind.__name__} has no field {', '.join(sorted(unknown))}; it has: {known}")


def has(value: BaseModel, fields: Mapping[str, Any]) -> bool:
    """Whether a value has all of these fields."""
    return all(getattr(value, name) == wanted for name, wanted in fields.items())


def named(kind: str, fields: Mapping[str, Any]) -> str:
    """A kind and fields, for people."""
    return f"{kind}({', '.join(f'{name}={value!r:.100}' for name, value in fields.items())})"


def shown(value: BaseModel | None, kind: str) -> str:
    """A job or an event, for people."""
    return (
        kind
        if value is None
        else named(kind, {name: getattr(value, name) for name in type(value).model_fields})
    )


def listed(found: Iterable[str]) -> str:
    """What there is instead."""
    all_of_it: Sequence[str] = list(found)
    more = f", and {len(all_of_it) - MOST_SHOWN} more" if len(all_of_it) > MOST_SHOWN else ""
    return (", ".join(all_of_it[:MOST_SHOWN]) or "nothing") + more
