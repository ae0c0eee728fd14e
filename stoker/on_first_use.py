"""Public names of a package that are imported when they are first used.

A program that needs one name imports only its module. Used by the `__init__` of a package, which declares its
names to type checkers by ordinary imports under TYPE_CHECKING.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def module_of_each(names: Mapping[str, str]) -> dict[str, str]:
    """The module of each name, given the names of each module, separated by spaces."""
    return {name: module for module, all_of_it in names.items() for name in all_of_it.split()}


def importers(
    namespace: dict[str, Any], modules: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The `__getattr__` and `__dir__` of the package with this namespace (PEP 562)."""

    def getattr_(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
        if name not in modules:
            raise AttributeError(f"module {namespace['__name__']!r} has no attribute {name!r}")
        value = namespace[name] = getattr(import_module(modules[name]), name)
        return value

    def dir_() -> list[str]:
        return sorted({*namespace, *namespace["__all__"]})

    return getattr_, dir_
