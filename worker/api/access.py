"""Who may do what: bearer tokens with roles, compared in constant time.

Without tokens the API serves this machine only, and everybody there is an operator; a page of another site
that reaches it through the operator's browser is refused by its Host and Origin.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from worker.api.failures import Refused
from worker.audit import Actor
from worker.settings import ApiSettings, Role, is_loopback

HEADER = re.compile(r"[Bb]earer ([A-Za-z0-9._~+/=-]{1,512})")
CHALLENGE = {"WWW-Authenticate": "Bearer"}
_documented = HTTPBearer(auto_error=False, description="A token of [[api.tokens]].")


@dataclass(frozen=True)
class Reader:
    """Who asks, from where, and as what."""

    actor: Actor
    role: Role


class Access:
    """The tokens of the settings."""

    def __init__(self, settings: ApiSettings) -> None:
        self._tokens = settings.tokens

    def identify(self, request: Request) -> Reader:
        """Who sends this request; raises Refused with 401 or 403."""
        address = request.client.host if request.client else None
        if not self._tokens:
            return self._on_loopback(request, address)
        digest = _digest(request.headers.get("authorization"))
        found = None
        for token in self._tokens:  # all of them: the time taken must not tell which one was close
            if hmac.compare_digest(token.digest, digest):
                found = token
        if found is None:
            raise Refused(401, "unauthorized", "no such token", headers=CHALLENGE)
        return Reader(Actor(found.name, address), found.role)

    def _on_loopback(self, request: Request, address: str | None) -> Reader:
        origin = request.headers.get("origin")
        hosts = [address or "", request.url.hostname or ""]
        if origin is not None:
            hosts.append(urlsplit(origin).hostname or "")
        if not all(is_loopback(host) for host in hosts):
            message = "without api.tokens only this machine is served, under its loopback name"
            raise Refused(403, "forbidden", message)
        return Reader(Actor("loopback", address), Role.OPERATOR)


def _digest(header: str | None) -> str:
    if header is None:
        raise Refused(401, "unauthorized", "a token is needed: Authorization: Bearer ...", headers=CHALLENGE)
    match = HEADER.fullmatch(header)
    if match is None:
        raise Refused(401, "unauthorized", "malformed Authorization header", headers=CHALLENGE)
    return hashlib.sha256(match[1].encode()).hexdigest()


def viewer(request: Request, _: Annotated[object, Depends(_documented)]) -> Reader:
    """Anybody with a token."""
    access: Access = request.app.state.access
    return access.identify(request)


def operator(reader: Annotated[Reader, Depends(viewer)]) -> Reader:
    """Somebody who may act; raises Refused with 403."""
    if reader.role is not Role.OPERATOR:
        raise Refused(
            403, "forbidden", f"token {reader.actor.name!r} may only look; this needs an operator's"
        )
    return reader


Viewer = Annotated[Reader, Depends(viewer)]
Operator = Annotated[Reader, Depends(operator)]
