"""Types of text parameters: only texts that Postgres can hold, so that no query fails on one.

Postgres refuses NUL, and UTF-8 cannot encode lone surrogates, which a JSON body can spell. Both are answered
with 422 and the name of the field.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field

NO_NUL = r"^[^\x00]*$"

Text = Annotated[str, Field(pattern=NO_NUL)]
Text64 = Annotated[str, Field(pattern=NO_NUL, max_length=64)]
Text128 = Annotated[str, Field(pattern=NO_NUL, max_length=128)]
JobId = Annotated[str, Field(pattern=NO_NUL, min_length=1, max_length=64)]


SQLALCHEMY = re.compile(r"\((?:\w+\.)+\w+\) <class '(?:\w+\.)*(\w+)'>: ")


def one_line(error: str) -> str:
    """An error as a listing shows it: its first line, with the driver's name of the error alone."""
    return SQLALCHEMY.sub(r"\1: ", next(filter(None, error.splitlines()), ""))[:200]


def writable(text: str) -> str:
    """The text without lone surrogates, which UTF-8 cannot encode."""
    return text.encode(errors="replace").decode()
