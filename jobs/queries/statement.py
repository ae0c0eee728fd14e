"""How a statement is read from its file, and how its rows become values by id."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files
from typing import Any

from sqlalchemy import JSON, BigInteger, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.selectable import TextualSelect

Value = dict[str, Any]
"""The JSON object of one entry."""


def statement(name: str) -> TextualSelect:
    """The statement of `<name>.sql`, whose result is rows of `id` and `value`, a JSON object."""
    return text(_sql(name)).columns(id=BigInteger, value=JSON)


def ids_of(name: str) -> TextualSelect:
    """The statement of `<name>.sql`, whose result is rows of `id` alone."""
    return text(_sql(name)).columns(id=BigInteger)


async def values_by_id(session: AsyncSession, query: TextualSelect, ids: Iterable[int]) -> dict[int, Value]:
    """Run a statement that takes `ids` and gives a row for each that exists."""
    rows = await session.execute(query, {"ids": sorted(set(ids))})
    return {number: value for number, value in rows}  # noqa: C416 - a Row is not a tuple to mypy


def like(text_: str | None) -> str | None:
    r"""The ILIKE pattern of a text anywhere; `%`, `_` and `\` in it mean themselves."""
    if text_ is None:
        return None
    for special in ("\\", "%", "_"):
        text_ = text_.replace(special, "\\" + special)
    return f"%{text_}%"


def _sql(name: str) -> str:
    return files(__package__ or __name__).joinpath(f"{name}.sql").read_text(encoding="utf-8")
