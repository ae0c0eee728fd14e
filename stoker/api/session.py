"""Routes under /api/session: sign in to the console with a token, see who is signed in, sign out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from stoker.api.access import (
    Reader,
    TheAccess,
    Viewer,
    refuse_too_many,
    require_same_origin,
)
from stoker.api.failures import Refused
from stoker.settings import Role

router = APIRouter(prefix="/api/session", tags=["session"])


class SignIn(BaseModel):
    """A token of [[api.tokens]]."""

    model_config = ConfigDict(extra="forbid")
    token: Annotated[SecretStr, Field(min_length=1, max_length=512)]


class SignedIn(BaseModel):
    """Who is signed in, and as what. `needs_token`: false where this machine alone is served."""

    signed_in: bool
    needs_token: bool
    name: str | None = None
    role: Role | None = None
    until: datetime | None = None


@router.get("")
async def session(request: Request, access: TheAccess) -> SignedIn:
    """Who the caller is; nobody is an answer, not an error."""
    try:
        return _shown(await access.identify(request), needs_token=not access.open)
    except Refused as refused:
        if refused.status != 401:  # noqa: PLR2004 - an HTTP status
            raise
        return SignedIn(signed_in=False, needs_token=True)


@router.post("")
async def sign_in(asked: SignIn, request: Request, response: Response, access: TheAccess) -> SignedIn:
    """Give a token once, get a cookie that scripts cannot read."""
    require_same_origin(request)
    if access.open:
        return await session(request, access)
    await refuse_too_many(access.sign_ins, request.client.host if request.client else "")
    token = access.tokens.find(asked.token.get_secret_value())
    if token is None:
        raise Refused(401, "unauthorized", "no such token")
    await access.tokens.used(token)
    value, life_s = await access.sessions.begin(token)
    response.set_cookie(
        access.cookie,
        value,
        max_age=life_s,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return SignedIn(
        signed_in=True,
        needs_token=True,
        name=token.name,
        role=token.role,
        until=datetime.fromtimestamp(int(value.split(":")[1]), UTC),
    )


@router.delete("")
async def sign_out(reader: Viewer, response: Response, access: TheAccess) -> SignedIn:
    """End the session, in every process."""
    if reader.session is not None:
        await access.sessions.end(reader.session)
    response.delete_cookie(access.cookie, httponly=True, samesite="strict")
    return SignedIn(signed_in=access.open, needs_token=not access.open)


def _shown(reader: Reader, *, needs_token: bool) -> SignedIn:
    return SignedIn(
        signed_in=True,
        needs_token=needs_token,
        name=reader.actor.name,
        role=reader.role,
        until=None if reader.session is None else datetime.fromtimestamp(reader.session.until, UTC),
    )
