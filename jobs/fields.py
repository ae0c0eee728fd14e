"""Text as users may send it: bounded, and without what Postgres or a page cannot hold."""

from __future__ import annotations

import unicodedata
from typing import Annotated

from pydantic import AfterValidator, StringConstraints

_LINE_BREAKS = frozenset("\n\r\t")


def _one_line(value: str) -> str:
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in value):
        raise ValueError("must not contain control characters")
    return value


def _many_lines(value: str) -> str:
    _one_line("".join(character for character in value if character not in _LINE_BREAKS))
    return value


_LINE = AfterValidator(_one_line)
_BODY = AfterValidator(_many_lines)

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), _LINE]
"""A title of 1 to 200 characters on one line."""
PersonName = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=120), _LINE]
"""A name of 1 to 120 characters on one line."""
ShortName = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100), _LINE]
"""A word or a few, 1 to 100 characters on one line."""
Word = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]
"""A lower-case identifier of at most 32 characters."""
Body = Annotated[str, StringConstraints(strip_whitespace=True, max_length=4000), _BODY]
"""Up to 4,000 characters; line breaks and tabs are allowed."""
Filter = Annotated[str, StringConstraints(strip_whitespace=True, max_length=200), _LINE]
"""A search text of at most 200 characters; `%` and `_` mean themselves."""
