"""Who may do what: tokens with roles (stoker/operations/tokens.py), in a header or behind a console session.

Until there is a first token the API serves this machine only, and everybody there is an operator; revoking
the last one does not open it again. A page of another site that reaches it through the operator's browser is
refused: by its Host and Origin, and a session's cookie alone changes nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from stoker.api.failures import Refused
from stoker.api.rates import Rate
from stoker.console.sessions import Session, Sessions
from stoker.operations.audit import Actor
from stoker.operations.tokens import Tokens
from stoker.queue.enqueue import Queue
from stoker.settings import NOBODY, ApiSettings, Role, is_loopback

HEADER = re.compile(r"[Bb]earer ([A-Za-z0-9._~+/=-]{1,512})")
HOST = re.compile(r"(localhost|[0-9.]{7,15}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
"""What a loopback's name looks like in a Host header."""
CHALLENGE = {"WWW-Authenticate": "Bearer"}
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
FORWARDED = frozenset(
    {"forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"}
)
"""What proxies add to a request that they pass on."""
CONSOLE_HEADER = "x-stoker-console"
"""Sent by the console's own page with whatever acts; another site's page cannot without our consent."""
_documented = HTTPBearer(auto_error=False, description="A token of the settings, or of `stoker tokens add`.")


@dataclass(frozen=True)
class Reader:
    """Who asks, from where, and as what."""

    actor: Actor
    role: Role
    session: Session | None = None


class Access:
    """The tokens, and the sessions that were begun with them."""

    def __init__(
        self, settings: ApiSettings, tokens: Tokens, sessions: Sessions, cookie: str, queue: Queue
    ) -> None:
        self.tokens = tokens
        self._on_loopback = is_loopback(settings.host)
        self.sessions = sessions
        self.cookie = cookie
        self.sign_ins = Rate(queue, "sign_in", settings.sign_ins_per_minute)
        self.actions = Rate(queue, "action", settings.actions_per_minute)

    @property
    def open(self) -> bool:
        """Whether there never was a token: this machine only, everybody an operator."""
        return self.tokens.none_ever and self._on_loopback

    async def identify(self, request: Request) -> Reader:
        """Who sends this request; raises Refused with 401 or 403."""
        address = request.client.host if request.client else None
        if self.open:
            return _on_loopback(request, address)
        cookie = request.cookies.get(self.cookie)
        if cookie is not None and "authorization" not in request.headers:
            return await self._of_session(request, cookie, address)
        found = self.tokens.find(_bearer(request.headers.get("authorization")))
        if found is None:
            raise Refused(401, "unauthorized", "no such token", headers=CHALLENGE)
        await self.tokens.used(found)
        return Reader(Actor(found.name, address), found.role)

    async def _of_session(self, request: Request, cookie: str, address: str | None) -> Reader:
        session = await self.sessions.read(cookie)
        if session is None:
            raise Refused(401, "unauthorized", "the session is over: sign in again", headers=CHALLENGE)
        if request.method not in SAFE:
            require_same_origin(request)
            if CONSOLE_HEADER not in request.headers:
                raise Refused(403, "forbidden", f"a session acts only with the header {CONSOLE_HEADER}")
        return Reader(Actor(session.token.name, address), session.token.role, session)


def require_same_origin(request: Request) -> None:
    """Raise Refused unless the request comes from our own page, or from no page at all."""
    origin = _origin(request)
    foreign = origin is not None and origin.netloc != request.headers.get("host", "")
    if foreign or request.headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        raise Refused(403, "forbidden", "a page of another origin may not ask for this")


def _on_loopback(request: Request, address: str | None) -> Reader:
    origin = _origin(request)
    hosts = [address or "", _host(request)]
    if origin is not None:
        hosts.append(origin.hostname or "")
    # A proxy is on this machine, its caller need not be. One that says nothing of itself speaks HTTP/1.0, as
    # nginx does unless it is told otherwise; no browser or client of today does.
    forwarded = not FORWARDED.isdisjoint(request.headers) or request.scope["http_version"] == "1.0"
    if forwarded or not all(is_loopback(host) for host in hosts):
        message = "without tokens only this machine is served, under its loopback name and by no proxy"
        raise Refused(403, "forbidden", message)
    if request.method not in SAFE:
        require_same_origin(request)
    return Reader(Actor(NOBODY, address), Role.OPERATOR)


def _host(request: Request) -> str:
    """The host by whose name the API is called; empty for none, several or one that cannot be read.

    Not `request.url`, which for a malformed header names the socket's address instead.
    """
    given = request.headers.getlist("host")
    match = HOST.fullmatch(given[0]) if len(given) == 1 else None
    return match[1] if match else ""


def _origin(request: Request) -> SplitResult | None:
    header = request.headers.get("origin")
    try:
        return None if header is None else urlsplit(header)
    except ValueError:
        return SplitResult("", "", "", "", "")  # nobody's origin, so a foreign one


def _bearer(header: str | None) -> str:
    if header is None:
        raise Refused(401, "unauthorized", "a token is needed: Authorization: Bearer ...", headers=CHALLENGE)
    match = HEADER.fullmatch(header)
    if match is None:
        raise Refused(401, "unauthorized", "malformed Authorization header", headers=CHALLENGE)
    return match[1]


async def the_access(request: Request) -> Access:
    """The application's tokens, as they are now, and sessions."""
    access: Access = request.app.state.access
    await access.tokens.load()
    return access


async def viewer(
    request: Request,
    access: Annotated[Access, Depends(the_access)],
    _: Annotated[object, Depends(_documented)],
) -> Reader:
    """Anybody with a token or a session."""
    return await access.identify(request)


async def operator(reader: Annotated[Reader, Depends(viewer)]) -> Reader:
    """Somebody who may act; raises Refused with 403."""
    if reader.role is not Role.OPERATOR:
        raise Refused(
            403, "forbidden", f"token {reader.actor.name!r} may only look; this needs an operator's"
        )
    return reader


async def steady_operator(
    reader: Annotated[Reader, Depends(operator)], access: Annotated[Access, Depends(the_access)]
) -> Reader:
    """An operator who does not ask too often for what costs work; raises Refused with 429."""
    await refuse_too_many(access.actions, reader.actor.name)
    return reader


async def refuse_too_many(rate: Rate, caller: str) -> None:
    """Raise Refused with 429 if the caller asked too often."""
    wait_s = await rate.wait_s(caller)
    if wait_s:
        raise Refused(
            429, "too_many", f"too many requests: again in {wait_s} s", headers={"Retry-After": str(wait_s)}
        )


TheAccess = Annotated[Access, Depends(the_access)]
Viewer = Annotated[Reader, Depends(viewer)]
Operator = Annotated[Reader, Depends(operator)]
SteadyOperator = Annotated[Reader, Depends(steady_operator)]
