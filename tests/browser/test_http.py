"""What `stoker.http` answers, in a browser that keeps it: it asks each time, and shows what is in effect."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import uvicorn
from playwright.async_api import Browser
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from stoker import Invalidation
from stoker.http.starlette import install, respond
from tests.browser.site import ON_ONE_LOOP, Site, window
from tests.support.notes import note, write_notes

pytestmark = ON_ONE_LOOP

FETCH = "fetch('/notes/1').then(async one => [one.status, one.ok ? (await one.json()).body : ''])"
LONG = 4000
"""Bytes that are worth compressing."""


@dataclass
class Pages:
    """An application. `answered`: the status of each answer, and whether its body was compressed."""

    site: Site
    url: str = ""
    answered: list[tuple[int, bool]] = field(default_factory=list)

    async def read(self, request: Request) -> Response:
        """Note 1, for reader 7."""
        reading = await self.site.stoker.read("detail", request.path_params["number"], reader=7)
        response = respond(reading, request)
        self.answered.append((response.status_code, "content-encoding" in response.headers))
        return response


async def blank(_: Request) -> Response:
    return HTMLResponse("<title>notes</title>")


@asynccontextmanager
async def served(site: Site) -> AsyncIterator[Pages]:
    pages = Pages(site)
    app = Starlette(routes=[Route("/", blank), Route("/notes/{number:int}", pages.read)])
    install(app)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        pages.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="warning"))
        serving = asyncio.create_task(server.serve([listening]))
        try:
            yield pages
        finally:
            server.should_exit = True
            await serving


async def test_a_browser_keeps_a_page_and_asks_each_time_whether_it_still_holds(
    browser: Browser, site: Site
) -> None:
    async with site.stoker.session() as session, session.begin():
        await write_notes(session, 1)
    async with served(site) as pages, window(browser) as context:
        page = await context.new_page()
        await page.goto(pages.url)

        async def write(statement: str, view: str) -> None:
            await site.execute(statement)
            await site.stoker.invalidate_now([Invalidation(note(1), {view}, hard=True)])

        await write(f"UPDATE notes SET body = repeat('a', {LONG})", "detail")  # noqa: S608 - a number
        for _ in range(2):
            assert await page.evaluate(FETCH) == [200, "a" * LONG], "the browser has it, or gets it"
        assert pages.answered == [(200, True), (304, False)]
        await write(f"UPDATE notes SET body = repeat('b', {LONG})", "detail")  # noqa: S608 - a number
        assert await page.evaluate(FETCH) == [200, "b" * LONG]
        await write("DELETE FROM note_members", "access")
        assert await page.evaluate(FETCH) == [403, ""], "what it keeps is no longer for its reader"
        assert pages.answered[2:] == [(200, True)]
