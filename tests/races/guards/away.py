"""How a guard is taken away: a piece of a Lua source, or one function, is another.

A piece that is to be replaced must be there, so that a changed script fails loudly.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha1

import pytest

from stoker.cache.client import Script
from stoker.queue.script import Script as QueueScript

Patch = pytest.MonkeyPatch
Removal = Callable[[Patch], None]
NEVER_S = 3600
"""For a limit that is none."""


class Unheard(Exception):
    """What nobody raises: whoever catches this catches nothing."""


def script(name: str, old: str, new: str) -> Removal:
    """Open processes whose script of that name lacks something."""

    def remove(patch: Patch) -> None:
        init = Script.__init__

        def edited(self: Script, file: str) -> None:
            init(self, file)
            if file == name:
                assert old in self.source, f"{name} has changed: no {old!r}"
                self.source = self.source.replace(old, new)
                self.digest = sha1(self.source.encode(), usedforsecurity=False).hexdigest()

        patch.setattr(Script, "__init__", edited)

    return remove


def queue_script(script: QueueScript, old: str, new: str) -> Removal:
    """The same for a script of the queue, which all processes of a test share."""

    def remove(patch: Patch) -> None:
        source = script.source.decode()
        assert old in source, f"a script of the queue has changed: no {old!r}"
        edited = source.replace(old, new).encode()
        patch.setattr(script, "source", edited)
        patch.setattr(script, "sha", sha1(edited, usedforsecurity=False).hexdigest())

    return remove


def replaced(owner: object, name: str, by: object) -> Removal:
    """Open processes in which an attribute is another."""
    return lambda patch: patch.setattr(owner, name, by)


def both(*removals: Removal) -> Removal:
    """Take several guards away, where each alone would do."""

    def remove(patch: Patch) -> None:
        for one in removals:
            one(patch)

    return remove
