"""Suggests what a misspelt name may have meant."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches


def meant(name: str, known: Collection[str]) -> str:
    """The end of a message: the most similar name, or nothing if none is similar."""
    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""
