"""The console's page and its files, from memory, with entity tags; and headers that keep a browser strict."""

from __future__ import annotations

import gzip
import re
from dataclasses import dataclass
from hashlib import blake2b
from importlib.resources import files

from fastapi import APIRouter, Request, Response
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stoker.errors import NotFound

router = APIRouter(include_in_schema=False)

TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
    "trusted-types 'none'"
)
STRICT = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


NOT_KEPT = ("/api/", "/metrics", "/readyz", "/healthz")
"""Paths whose answers no browser or proxy may store: they are meant for one reader at one time."""
TLS_ONLY = "max-age=31536000"


NEEDLESS = re.compile(rb"^[ \t]+|^[ \t]*(?://[^\n]*|/\*(?:(?!\*/).)*\*/[ \t]*)\n", re.MULTILINE)
"""Indentation, and lines with nothing but a comment: a sixth of the page. None of our texts spans lines."""
OURS = (".css", ".js")


@dataclass(frozen=True)
class Asset:
    """One file: its bytes, plain and compressed, with an entity tag for each."""

    media_type: str
    body: bytes
    packed: bytes
    etag: str
    packed_etag: str

    @classmethod
    def of(cls, name: str, body: bytes) -> Asset:
        """The asset of a file; what a browser does not need of a script or a style sheet is left out."""
        if name.endswith(OURS):
            body = NEEDLESS.sub(b"", body)
        tag = blake2b(body, digest_size=12).hexdigest()
        packed = gzip.compress(body, mtime=0)
        return cls(TYPES[name.rpartition(".")[2]], body, packed, f'"{tag}"', f'"{tag}-gzip"')


def load() -> dict[str, Asset]:
    """Every file of the page, by name."""
    folder = files("stoker.console").joinpath("static")
    return {
        file.name: Asset.of(file.name, file.read_bytes())
        for file in folder.iterdir()
        if file.name.rpartition(".")[2] in TYPES
    }


@router.get("/")
async def page(request: Request) -> Response:
    """The page. It holds no data, so it needs no token."""
    return _answer(request, "index.html")


@router.get("/console/{name}")
async def asset(name: str, request: Request) -> Response:
    """A file of the page."""
    return _answer(request, name)


def _answer(request: Request, name: str) -> Response:
    assets: dict[str, Asset] = request.app.state.assets
    found = assets.get(name)
    if found is None:
        raise NotFound(f"the console has no file {name[:40]!r}")
    packed = "gzip" in request.headers.get("accept-encoding", "")
    etag = found.packed_etag if packed else found.etag
    headers = {"ETag": etag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
    if etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    if packed:
        headers["Content-Encoding"] = "gzip"
        return Response(found.packed, media_type=found.media_type, headers=headers)
    return Response(found.body, media_type=found.media_type, headers=headers)


class StrictHeaders:
    """ASGI middleware: adds the headers of `STRICT`, forbids storing answers with data, and keeps TLS on."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application, and add the headers to its answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_strictly(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in STRICT.items():
                    headers.setdefault(name, value)
                if scope["path"].startswith(NOT_KEPT):
                    headers.setdefault("Cache-Control", "no-store")
                if scope["scheme"] == "https":
                    headers.setdefault("Strict-Transport-Security", TLS_ONLY)
            await send(message)

        await self._app(scope, receive, send_strictly)
