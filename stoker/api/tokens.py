"""Routes under /api/tokens, for operators alone: who may ask; add a token, revoke one.

A token is in the answer to the request that made it and nowhere else, ever.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from stoker.api.access import Operator, SteadyOperator, TheAccess
from stoker.api.context import OpenStoker, TheSettings
from stoker.operations import tokens
from stoker.operations.tokens import MOST_DAYS, TokenFigures
from stoker.settings import TOKEN_NAME, Role

router = APIRouter(prefix="/api/tokens", tags=["tokens"])


class SettingsToken(BaseModel):
    """A token of the settings: it ends with them."""

    name: str
    role: Role


class TokenList(BaseModel):
    """Tokens that were added, those in use first, and those of the settings."""

    tokens: list[TokenFigures]
    settings: list[SettingsToken]


class NewToken(BaseModel):
    """Whose token it is, and what it may."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(pattern=TOKEN_NAME)
    role: Role = Role.VIEWER
    days: Annotated[int, Field(ge=1, le=MOST_DAYS)] | None = None
    """Days until it ends by itself; none: it does not."""


class TokenMade(NewToken):
    """The token itself: keep it, nobody can show it again."""

    token: str


class WhichToken(BaseModel):
    """A token that was added."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(pattern=TOKEN_NAME)


class TokenRevoked(BaseModel):
    """A token that counts no more."""

    name: str


@router.get("")
async def listing(_: Operator, stoker: OpenStoker, settings: TheSettings) -> TokenList:
    """Who may ask; nothing to guess a token from."""
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
    """Make a token. It counts at once here and within 5 seconds in every other process."""
    given = await tokens.add(stoker, operator.actor, asked.name, asked.role, settings.api.tokens, asked.days)
    access.tokens.outdated()
    response.headers["Cache-Control"] = "no-store"
    return TokenMade(**asked.model_dump(), token=given)


@router.post("/revoke")
async def revoke(
    asked: WhichToken, operator: SteadyOperator, stoker: OpenStoker, access: TheAccess
) -> TokenRevoked:
    """Let a token count no more, within 5 seconds in every process; its console sessions end with it."""
    await tokens.revoke(stoker, operator.actor, asked.name)
    access.tokens.outdated()
    return TokenRevoked(name=asked.name)
