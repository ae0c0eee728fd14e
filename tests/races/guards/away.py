"""How a guard is taken away: a piece of a Lua source, or one function, is replaced.

A piece that is to be replaced must be there, so that a changed script fails loudly.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stoker.redis.script import Script, digest_of

Patch = pytest.MonkeyPatch
Removal = Callable[[Patch], None]
NEVER_S = 3600
"""For a limit that is none."""


class Unheard(Exception):
    """An exception that is never raised: `except` with it catches nothing."""


def script(edited: Script, old: str, new: str) -> Removal:
    """Replace a piece of a script, which all processes of a test share."""

    def remove(patch: Patch) -> None:
        source = edited.source.decode()
        assert old in source, f"{edited.name}.lua has changed: no {old!r}"
        without = source.replace(old, new).encode()
        patch.setattr(edited, "source", without)
        patch.setattr(edited, "digest", digest_of(without))

    return remove


def replaced(owner: object, name: str, by: object) -> Removal:
    """Open processes in which an attribute has another value."""
    return lambda patch: patch.setattr(owner, name, by)


def both(*removals: Removal) -> Removal:
    """Take several guards away, where each alone would do."""

    def remove(patch: Patch) -> None:
        for one in removals:
            one(patch)

    return remove
