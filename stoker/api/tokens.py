"""Routes under /api/tokens, for operators alone: list, add and revoke tokens.

A token appears only in the answer to the request that made it.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from stoker.api.access import Operator, SteadyOperator, TheAccess
from stoker.api.context import OpenStoker, ReadingStoker, TheSettings
from stoker.operations import tokens
from stoker.operations.tokens import MOST_DAYS, TokenFigures
from stoker.settings import TOKEN_NAME, Role

router = APIRouter(prefix="/api/tokens", tags=["tokens"])


class SettingsToken(BaseModel):
    """A token of the settings: it is valid until it is removed there."""

    name: str
    role: Role


class TokenList(BaseModel):
    """Tokens that were added, those in use first, and those of the settings."""

    tokens: list[TokenFigures]
    settings: list[SettingsToken]


class NewToken(BaseModel):
    """Whose token it is, and its role."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(pattern=TOKEN_NAME)
    role: Role = Role.VIEWER
    days: Annotated[int, Field(ge=1, le=MOST_DAYS)] | None = None
    """Days until it expires; null: never."""


class TokenMade(NewToken):
    """The token itself. Keep it: it cannot be shown again."""

    token: str


class WhichToken(BaseModel):
    """A token that was added."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(pattern=TOKEN_NAME)


class TokenRevoked(BaseModel):
    """A revoked token."""

    name: str


@router.get("")
async def listing(_: Operator, stoker: ReadingStoker, settings: TheSettings) -> TokenList:
    """All tokens, without their hashes."""
    own = [SettingsToken(name=token.name, role=token.role) for token in settings.api.tokens]
    return TokenList(tokens=await tokens.list_tokens(stoker), settings=own)


@router.post("", status_code=201)
async def add(
    asked: NewToken,
    operator: SteadyOperator,
    stoker: OpenStoker,
    settings: TheSettings,
    access: TheAccess,
    response: Response,
) -> TokenMade:
    """Make a token. It is valid here at once, and within 5 seconds in every other process."""
    given = await tokens.add(stoker, operator.actor, asked.name, asked.role, settings.api.tokens, asked.days)
    access.tokens.outdated()
    response.headers["Cache-Control"] = "no-store"
    return TokenMade(**asked.model_dump(), token=given)


@router.post("/revoke")
async def revoke(
    asked: WhichToken, operator: SteadyOperator, stoker: OpenStoker, access: TheAccess
) -> TokenRevoked:
    """Revoke a token, within 5 seconds in every process. Its console sessions end with it."""
    await tokens.revoke(stoker, operator.actor, asked.name)
    access.tokens.outdated()
    return TokenRevoked(name=asked.name)
