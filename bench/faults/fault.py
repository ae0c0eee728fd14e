"""One fault: the example application with it, and where it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stoker import Domain


@dataclass(frozen=True, slots=True)
class Fault:
    """`statements` run after the captures of the domain were made."""

    place: str
    domain: Domain
    statements: Sequence[str] = ()
