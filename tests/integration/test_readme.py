"""The README, tried as a reader would: its code as it stands there, its commands on servers of their own."""

from __future__ import annotations

import asyncio
import re
import shlex
import textwrap
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis
from sqlalchemy import text

from stoker import Stoker, testing
from tests.support.place import Place
from tests.support.programs import printed_urls, program

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
WITHOUT, WITH, SHOP, TEST_SHOP = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


async def test_the_six_lines_without_stoker_show_a_stale_page(cache_url: str, prefix: str) -> None:
    assert len(WITHOUT.strip().splitlines()) == 6
    built, changed = asyncio.Event(), asyncio.Event()

    async def build_page(_order_id: str) -> bytes:
        body = b"old"
        built.set()
        await changed.wait()
        return body

    async with Redis.from_url(cache_url) as redis:
        page: dict[str, Any] = {"redis": redis, "build_page": build_page}
        exec(WITHOUT, page)  # noqa: S102 - our own page
        reading = asyncio.create_task(page["page"](prefix))
        await built.wait()
        await redis.delete(f"page:{prefix}")  # the change is committed, and its writer deletes the key
        changed.set()
        await reading
        assert await page["page"](prefix) == b"old"
        await redis.delete(f"page:{prefix}")


async def test_the_lines_with_stoker_show_the_change(place: Place) -> None:
    shop: dict[str, Any] = {"__name__": "shop"}
    exec(SHOP, shop)  # noqa: S102 - our own page
    lines = f"async def lines(stoker):\n{textwrap.indent(WITH, '    ')}    return reading"
    exec(lines, shop)  # noqa: S102 - the same
    async with Stoker.opened(place.settings(), shop["domain"]) as stoker:
        async with stoker.session() as session, session.begin():
            await session.execute(text("CREATE TABLE orders (id bigint PRIMARY KEY, total bigint)"))
            await session.execute(text("INSERT INTO orders VALUES (7, 10)"))
        assert (await stoker.read("page", 7)).value == {"total": 10}
        reading = asyncio.create_task(shop["lines"](stoker))
        while not reading.done():
            await testing.apply(stoker)  # the worker's part
            await asyncio.sleep(0)
        assert (await reading).value == {"total": 12}


@pytest.mark.parametrize(("block", "file"), [(SHOP, "shop.py"), (TEST_SHOP, "test_shop.py")])
def test_the_page_has_the_files_of_the_example(block: str, file: str) -> None:
    assert block == (ROOT / "examples" / "shop" / file).read_text()


async def test_the_first_cached_read_of_a_reader_works(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    async with program(tmp_path, *commands("stoker up"), STOKER__DOMAIN="shop", STOKER__API__PORT="0") as up:
        urls = await printed_urls(up)
        async with program(tmp_path, *commands("uvicorn"), **urls) as web:
            address = (await web.until(r"running on (http://\S+)"))[1]
            async with httpx.AsyncClient(base_url=address, timeout=20) as client:
                await read_and_change(client)
        # The printed line has the domain, too, so that commands run where it was pasted.
        async with program(tmp_path, "stoker", "check", **urls) as check:
            assert await check.ended() == 0, "".join(check.lines)
            assert not [line for line in check.lines if "warning" in line]


async def test_the_test_of_a_reader_works(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "test_shop.py").write_text(TEST_SHOP)
    async with program(tmp_path, "pytest") as tests:
        assert await tests.ended() == 0, "".join(tests.lines)
        assert "1 passed" in tests.lines[-1]


def commands(beginning: str) -> list[str]:
    """The page's command that begins so, without its variables; a port that is free instead of the page's."""
    found = re.search(rf"^(?:\w+=\S+ )?({beginning}\b.*)$", README, re.MULTILINE)
    assert found is not None
    return shlex.split(found[1].replace("--port 8000", "--port 0"))


async def read_and_change(client: httpx.AsyncClient) -> None:
    """The requests of the page, in its order."""
    order = re.findall(r"curl (-X PUT|-i) '?localhost:8000(/\S+?)'?$", README, re.MULTILINE)
    seen = SimpleNamespace(totals=[], caches=[])
    for way, path in order:
        if way == "-i":
            answer = await client.get(path)
            seen.totals.append(answer.json()["total"])
            seen.caches.append(answer.headers["x-cache"])
        else:
            assert (await client.put(path)).json() == {"state": "applied"}
    assert seen.totals == [10, 10, 12]
    assert seen.caches == ["miss", "hit", "miss"]
    assert (await client.get("/orders/8")).status_code == httpx.codes.NOT_FOUND
