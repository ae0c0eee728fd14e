"""Checks that all declarations share: names, and the functions of the application that Stoker calls later.

A mistake raises DeclarationError where it is made, with one sentence that says what to do.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from typing import Any, Protocol

from stoker.errors import DeclarationError

NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
RESERVED = frozenset({"hard", "stamp", "lease"})


class Named(Protocol):
    """A declaration that has a name: a view or a scope kind."""

    @property
    def name(self) -> str:
        """The name that stands for it in keys, settings and requests."""


def name_of(declared: str | Named) -> str:
    """The name of a declaration, or a name as it is; the caller refuses anything else."""
    if isinstance(declared, str):
        return declared
    name: str = getattr(declared, "name", declared)  # type: ignore[arg-type]
    return name


def check_name(name: object, what: str) -> None:
    """Refuse a name that cannot be part of a key."""
    if not isinstance(name, str) or not NAME.fullmatch(name) or name in RESERVED:
        raise DeclarationError(
            f"{what} name {name!r:.60}: use 1 to 32 lower-case letters, digits and _, beginning with a "
            f"letter, and none of {', '.join(sorted(RESERVED))}"
        )


def check_all(declared: object, kind: type, what: str) -> None:
    """Refuse anything but a tuple of declarations of one type."""
    if not isinstance(declared, tuple | list) or not all(isinstance(one, kind) for one in declared):
        raise DeclarationError(f"{what} must be a tuple of {kind.__name__}, not {declared!r:.100}")


def check_unique(what: str, names: Sequence[str]) -> None:
    """Refuse a name that is declared twice."""
    doubles = sorted({name for name in names if names.count(name) > 1})
    if doubles:
        raise DeclarationError(f"declared twice: {what} {', '.join(doubles)}")


def check_called(function: object, what: str, *takes: str) -> None:
    """Refuse anything but a function, async or plain, of these arguments."""
    _check_signature(function, f"{what} must be a function that takes ({', '.join(takes)})", takes)


def check_async(function: object, what: str, *takes: str) -> None:
    """Refuse anything but an async function of these arguments."""
    _check_signature(function, f"{what} must be an async function that takes ({', '.join(takes)})", takes)
    if not is_async(function):
        raise DeclarationError(f"{what} must be an async function: write `async def`")


def check_plain(function: object, what: str, *takes: str) -> None:
    """Refuse anything but a plain function of these arguments."""
    _check_signature(function, f"{what} must be a function that takes ({', '.join(takes)})", takes)
    if is_async(function):
        raise DeclarationError(f"{what} must be a plain function: write `def`, not `async def`")


def _check_signature(function: Any, wanted: str, takes: Sequence[str]) -> None:  # noqa: ANN401 - whatever it is
    if not callable(function):
        raise DeclarationError(f"{wanted}, not {function!r:.60}")
    try:
        signature = inspect.signature(function)
    except ValueError:
        return  # written in C, without a signature
    try:
        signature.bind(*takes)
    except TypeError as error:
        raise DeclarationError(f"{wanted}: {error}") from None


def check_one_value(function: object, what: str) -> None:
    """Refuse a generator, which would never run: calling it gives something to iterate over."""
    bodies = _bodies(function)
    if any(inspect.isgeneratorfunction(one) or inspect.isasyncgenfunction(one) for one in bodies):
        raise DeclarationError(f"{what} is a generator: write `return`, not `yield`")


def is_async(function: Any) -> bool:  # noqa: ANN401 - the same
    """Whether calling it gives something to await."""
    return any(map(inspect.iscoroutinefunction, _bodies(function)))


def _bodies(function: Any) -> tuple[Any, ...]:  # noqa: ANN401 - the same
    """What runs when it is called: itself, what its decorators wrap, or the method of an object."""
    return function, inspect.unwrap(function), getattr(function, "__call__", None)  # noqa: B004 - it is not called
