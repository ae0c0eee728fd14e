"""Types of text parameters: only texts that Postgres can hold, so that a query about any of them works.

Postgres refuses NUL, and UTF-8 has no lone surrogates (a JSON body can spell them): both are 422, by name.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

NO_NUL = r"^[^\x00]*$"

Text = Annotated[str, Field(pattern=NO_NUL)]
Text64 = Annotated[str, Field(pattern=NO_NUL, max_length=64)]
Text128 = Annotated[str, Field(pattern=NO_NUL, max_length=128)]
JobId = Annotated[str, Field(pattern=NO_NUL, min_length=1, max_length=64)]


def writable(text: str) -> str:
    """The text with what UTF-8 cannot encode replaced."""
    return text.encode(errors="replace").decode()
