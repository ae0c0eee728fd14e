"""Routes under /api/session: sign in to the console with a token, see who is signed in, sign out."""

from __future__ import annotations

import logging
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
from stoker.api.context import OpenStoker
from stoker.api.failures import Refused
from stoker.errors import DatabaseUnavailable
from stoker.operations.audit import Actor, audit
from stoker.settings import Role
from stoker.stoker import Stoker

log = logging.getLogger(__name__)
router = APIRouter(prefix="/api/session", tags=["session"])


class SignIn(BaseModel):
    """A token of [[api.tokens]]."""

    model_config = ConfigDict(extra="forbid")
    token: Annotated[SecretStr, Field(min_length=1, max_length=512)]


class SignedIn(BaseModel):
    """Who is signed in, and with which role."""

    signed_in: bool
    name: str | None = None
    role: Role | None = None
    until: datetime | None = None


@router.get("")
async def session(request: Request, access: TheAccess) -> SignedIn:
    """Who the caller is. Without a session the answer says so; it is not an error."""
    if "authorization" not in request.headers and access.cookie(request) not in request.cookies:
        return SignedIn(signed_in=False)
    try:
        return _shown(await access.identify(request))
    except Refused as refused:
        if refused.status != 401:  # noqa: PLR2004 - an HTTP status
            raise
        return SignedIn(signed_in=False)


@router.post("")
async def sign_in(
    asked: SignIn, request: Request, response: Response, access: TheAccess, stoker: OpenStoker
) -> SignedIn:
    """Sign in with a token; the answer sets a cookie that scripts cannot read."""
    require_same_origin(request)
    address = request.client.host if request.client else None
    token = access.tokens.find(asked.token.get_secret_value())
    if token is None:
        raise await access.guesses.refusal(address, "sign-in")
    await refuse_too_many(access.actions, token.name)
    await access.tokens.used(token)
    value, life_s = await access.sessions.begin(token)
    await _audited(stoker, Actor(token.name, address), "session.begin")
    access.set_cookie(request, response, value, life_s)
    until = datetime.fromtimestamp(int(value.split(":")[1]), UTC)
    return SignedIn(signed_in=True, name=token.name, role=token.role, until=until)


@router.delete("")
async def sign_out(
    reader: Viewer, request: Request, response: Response, access: TheAccess, stoker: OpenStoker
) -> SignedIn:
    """End the session, in every process."""
    if reader.session is not None:
        await access.sessions.end(reader.session)
        await _audited(stoker, reader.actor, "session.end")
    secure = request.url.scheme == "https"
    response.delete_cookie(access.cookie(request), httponly=True, samesite="strict", secure=secure)
    return SignedIn(signed_in=False)


async def _audited(stoker: Stoker, actor: Actor, action: str) -> None:
    """Best effort: while Postgres is away, known callers may read and cannot act."""
    try:
        async with stoker.session() as session, session.begin():
            await audit(session, actor, action, {})
    except DatabaseUnavailable as error:
        log.info("session.not_audited", extra={"action": action, "error": str(error)})


def _shown(reader: Reader) -> SignedIn:
    return SignedIn(
        signed_in=True,
        name=reader.actor.name,
        role=reader.role,
        until=None if reader.session is None else datetime.fromtimestamp(reader.session.until, UTC),
    )
