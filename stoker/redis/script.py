"""Lua scripts, called by their digest, and sent in full only to a server that does not know it."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha1
from importlib.resources import files
from typing import Any

Command = tuple[Any, ...]


class Script:
    """A script of one package's `lua` folder, behind the part that it shares with others."""

    def __init__(self, package: str, name: str, prelude: bytes = b"") -> None:
        self.package = package
        self.name = name
        self.prelude, self.own = prelude, lua(package, name)
        self.source = joined(prelude, self.own)
        self.digest = digest_of(self.source)

    def call(self, keys: Sequence[str], *arguments: object) -> Command:
        """The command that runs it, for `by_digest` or `in_full`."""
        return ("EVALSHA", self, len(keys), *keys, *arguments)


def lua(package: str, name: str) -> bytes:
    """A file of one package's `lua` folder."""
    return files(package).joinpath("lua", f"{name}.lua").read_bytes()


def joined(prelude: bytes, own: bytes) -> bytes:
    """A script behind its prelude; the flags of the script, if it has any, stay the first line."""
    flags, end, rest = own.partition(b"\n") if own.startswith(b"#!") else (b"", b"", own)
    return flags + end + prelude + rest


def by_digest(command: Command) -> Command:
    """A command as it is sent at first: of a script, only its digest."""
    if command[0] != "EVALSHA":
        return command
    return ("EVALSHA", command[1].digest, *command[2:])


def in_full(command: Command) -> Command:
    """A script's command as it is sent to a server that does not know the digest."""
    return ("EVAL", command[1].source, *command[2:])


def digest_of(source: bytes) -> str:
    """The digest by which Redis names a script."""
    return sha1(source, usedforsecurity=False).hexdigest()
