"""Who may do what: tokens with roles (stoker/operations/tokens.py), in a header or behind a console session.

Every request needs one, also from this machine. A page of another site that reaches the API through the
operator's browser is refused by its Origin and Sec-Fetch-Site; a session's cookie alone allows no action.
Wrong tokens are limited for each network that they come from, logged, counted and audited. This limit does
not apply to requests with a valid token.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from fastapi import Depends, Request, Response
from fastapi.security import HTTPBearer

from stoker.api.failures import Refused, too_many
from stoker.api.guesses import Guesses
from stoker.api.rates import Bucket, Rate
from stoker.console.sessions import Session, Sessions
from stoker.operations.audit import Actor
from stoker.operations.tokens import Tokens
from stoker.queue.enqueue import Queue
from stoker.settings import ApiSettings, Role

HEADER = re.compile(r"[Bb]earer ([A-Za-z0-9._~+/=-]{1,512})")
CHALLENGE = {"WWW-Authenticate": "Bearer"}
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
CONSOLE_HEADER = "x-stoker-console"
"""The console's page sends it with every action. A page of another site cannot send it: CORS forbids that."""
UNATTENDED_HEADER = "x-stoker-unattended"
"""The console's page sends it while nobody uses the page: such a request does not extend the session."""
_documented = HTTPBearer(auto_error=False, description="A token of the settings, or of `stoker tokens add`.")


@dataclass(frozen=True)
class Reader:
    """Who sends the request, from where, and with which role."""

    actor: Actor
    role: Role
    session: Session | None = None


class Access:
    """The tokens, and the sessions that were started with them."""

    def __init__(
        self, settings: ApiSettings, tokens: Tokens, sessions: Sessions, cookie: str, queue: Queue
    ) -> None:
        self.tokens = tokens
        self.sessions = sessions
        self._cookie = cookie
        self.guesses = Guesses(Rate(queue, "guess", settings.sign_ins_per_minute), sessions.engine)
        self.actions = Rate(queue, "action", settings.actions_per_minute)
        self.reads = Bucket(settings.reads_per_minute)

    def cookie(self, request: Request) -> str:
        """The session cookie's name. Browsers accept `__Host-` only from the same host and only over TLS."""
        return f"__Host-{self._cookie}" if request.url.scheme == "https" else self._cookie

    async def identify(self, request: Request) -> Reader:
        """Who sends this request; raises Refused with 401, 403 or 429."""
        address = request.client.host if request.client else None
        cookie = request.cookies.get(self.cookie(request))
        if cookie is not None and "authorization" not in request.headers:
            return await self._of_session(request, cookie, address)
        found = self.tokens.find(_bearer(request.headers.get("authorization")))
        if found is None:
            raise await self.guesses.refusal(address, "bearer")
        await self.tokens.used(found)
        return Reader(Actor(found.name, address), found.role)

    async def _of_session(self, request: Request, cookie: str, address: str | None) -> Reader:
        require_same_origin(request)
        session = await self.sessions.read(cookie)
        if session is None:
            raise Refused(401, "unauthorized", "the session is over: sign in again", headers=CHALLENGE)
        if request.method not in SAFE and CONSOLE_HEADER not in request.headers:
            raise Refused(403, "forbidden", f"a session acts only with the header {CONSOLE_HEADER}")
        return Reader(Actor(session.token.name, address), session.token.role, session)

    def set_cookie(self, request: Request, response: Response, value: str, life_s: int) -> None:
        """Set a session's cookie, which scripts cannot read."""
        response.set_cookie(
            self.cookie(request),
            value,
            max_age=life_s,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )


def require_same_origin(request: Request) -> None:
    """Raise Refused unless the request comes from our own page, or from no page at all."""
    origin = _origin(request)
    foreign = origin is not None and origin.netloc != request.headers.get("host", "")
    if foreign or request.headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        raise Refused(403, "forbidden", "a page of another origin may not send this request")


def _origin(request: Request) -> SplitResult | None:
    header = request.headers.get("origin")
    try:
        return None if header is None else urlsplit(header)
    except ValueError:
        return SplitResult("", "", "", "", "")  # not a valid origin, so not ours


def _bearer(header: str | None) -> str:
    if header is None:
        raise Refused(401, "unauthorized", "a token is needed: Authorization: Bearer ...", headers=CHALLENGE)
    match = HEADER.fullmatch(header)
    if match is None:
        raise Refused(401, "unauthorized", "malformed Authorization header", headers=CHALLENGE)
    return match[1]


async def the_access(request: Request) -> Access:
    """The application's current tokens, and its sessions."""
    access: Access = request.app.state.access
    await access.tokens.load()
    return access


async def viewer(
    request: Request,
    response: Response,
    access: Annotated[Access, Depends(the_access)],
    _: Annotated[object, Depends(_documented)],
) -> Reader:
    """A caller with a token or a session, within the rate; raises Refused."""
    reader = await access.identify(request)
    _refuse_for(access.reads.wait_s(reader.actor.name))
    if reader.session is not None and UNATTENDED_HEADER not in request.headers:
        renewed = await access.sessions.renew(reader.session)
        if renewed is not None:
            access.set_cookie(request, response, *renewed)
    return reader


async def operator(reader: Annotated[Reader, Depends(viewer)]) -> Reader:
    """A caller with the operator's role; raises Refused with 403."""
    if reader.role is not Role.OPERATOR:
        raise Refused(
            403, "forbidden", f"token {reader.actor.name!r} is a viewer's; this needs an operator's"
        )
    return reader


async def steady_operator(
    reader: Annotated[Reader, Depends(operator)], access: Annotated[Access, Depends(the_access)]
) -> Reader:
    """An operator, within the rate of expensive actions; raises Refused with 429."""
    await refuse_too_many(access.actions, reader.actor.name)
    return reader


async def refuse_too_many(rate: Rate, caller: str) -> None:
    """Raise Refused with 429 if the caller exceeds the rate."""
    _refuse_for(await rate.wait_s(caller))


def _refuse_for(wait_s: float) -> None:
    if wait_s:
        raise too_many(wait_s)


TheAccess = Annotated[Access, Depends(the_access)]
Viewer = Annotated[Reader, Depends(viewer)]
Operator = Annotated[Reader, Depends(operator)]
SteadyOperator = Annotated[Reader, Depends(steady_operator)]
