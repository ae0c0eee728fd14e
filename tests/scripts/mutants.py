"""Takes the lines of a Lua script away, one at a time: statements, and each condition of an `if`.

Textual, for the style of our own scripts: one statement a line, conditions joined by `and` and `or`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

STATEMENT = re.compile(r"\s*(?:redis\.p?call|pcall|[a-z_]+)\(.*\)(?:\s*--.*)?$")
CONDITION = re.compile(r"\b(?:else)?if (.*?) then\b|\breturn ([^\n]+ (?:and|or) [^\n]+)", re.DOTALL)


@dataclass(frozen=True)
class Mutant:
    """A script that lacks something; `line` is what it lacks, as the source has it."""

    line: str
    source: str


def mutants(source: str) -> Iterator[Mutant]:
    """Every script that lacks one line or one condition of the given one."""
    lines = source.split("\n")
    for number, line in enumerate(lines):
        if STATEMENT.match(line) and line.count("(") == line.count(")"):
            yield Mutant(line.strip(), "\n".join([*lines[:number], *lines[number + 1 :]]))
    for found in CONDITION.finditer(_without_comments(source)):
        group = 1 if found[1] is not None else 2
        yield from _without_parts(source, found.start(group), found[group])


def _without_parts(source: str, start: int, condition: str) -> Iterator[Mutant]:
    """The condition with each of its parts made true, and false."""
    for at, part in _parts(condition):
        begin = start + at
        for value in ("true", "false"):
            edited = source[:begin] + value + source[begin + len(part) :]
            where = " ".join(condition.split())
            yield Mutant(f"{where} [{' '.join(part.split())} = {value}]", edited)


def _parts(condition: str) -> Iterator[tuple[int, str]]:
    """What `and` and `or` join at the top level, with its place."""
    depth, begin, at = 0, 0, 0
    while at < len(condition):
        depth += (condition[at] in "({") - (condition[at] in ")}")
        joint = re.match(r"\s+(?:and|or)\s+", condition[at:])
        if depth == 0 and joint:
            yield begin, condition[begin:at]
            at += len(joint[0])
            begin = at
            continue
        at += 1
    yield begin, condition[begin:]


def _without_comments(source: str) -> str:
    """The same characters in the same places, comments blanked."""
    return re.sub(r"--[^\n]*", lambda found: " " * len(found[0]), source)
