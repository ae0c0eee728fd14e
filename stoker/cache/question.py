"""What is asked of Redis about entries: their names, and the command as Redis reads it, packed once.

Every look at entries goes through here: a hit's, a batch's, a filler's, the verifier's. No key is sent twice
though entries share it: an entry and its access entry stand under one hard stamp. Touches no server.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from stoker.cache.keys import EntryNames
from stoker.cache.near import Near
from stoker.redis.connection import pack


class Command(NamedTuple):
    """One MGET. `places`: where in its reply each entry's stamp, hard stamp and stored bytes are."""

    packed: bytes
    places: tuple[tuple[int, int, int], ...]


class Question:
    """Entries to look at, all in one command: in full, or without the bytes that are kept near.

    `may_go_unasked`: whether those that were found valid a moment ago may be served as they are.
    """

    __slots__ = ("_commands", "may_go_unasked", "names")

    def __init__(self, names: Iterable[EntryNames], *, may_go_unasked: bool = False) -> None:
        self.names = tuple(names)
        self.may_go_unasked = may_go_unasked
        self._commands: dict[tuple[bool, ...], Command] = {}

    def command(self, kept: Sequence[Near | None]) -> Command:
        """The command, given which of the entries are kept near."""
        far = tuple([near is None for near in kept])
        command = self._commands.get(far)
        if command is None:
            command = self._commands[far] = self._packed(far)
        return command

    def _packed(self, far: Sequence[bool]) -> Command:
        places: dict[str, int] = {}
        found = []
        for names, whole in zip(self.names, far, strict=True):
            stamp = places.setdefault(names.stamp, len(places))
            hard = places.setdefault(names.hard, len(places))
            # Where nothing is read, the place is one that is never looked at.
            found.append((stamp, hard, places.setdefault(names.entry, len(places)) if whole else -1))
        return Command(pack([("MGET", *places)]), tuple(found))
