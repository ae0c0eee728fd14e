"""The examples, as their pages say they are run. The shop is the README's: see test_readme.py."""

from __future__ import annotations

import shutil
from pathlib import Path

import httpx
import pytest

from tests.support.programs import printed_urls, program

EXAMPLES = Path(__file__).parents[2] / "examples"
ANN, BOB, STRANGER = ({"X-Agent": str(number)} for number in (1, 2, 3))
OK, FORBIDDEN, NOT_FOUND, NOT_MODIFIED = 200, 403, 404, 304


@pytest.fixture
def helpdesk(tmp_path: Path) -> Path:
    """The folder of the example, with nothing in it but its files."""
    ours = shutil.ignore_patterns("__pycache__", ".data", ".pytest_cache")
    return Path(shutil.copytree(EXAMPLES / "helpdesk", tmp_path / "helpdesk", ignore=ours))


async def test_the_tests_of_the_helpdesk_pass(helpdesk: Path) -> None:
    async with program(helpdesk, "pytest") as tests:
        assert await tests.ended() == 0, "".join(tests.lines)
        assert "4 passed" in tests.lines[-1]


async def test_the_helpdesk_serves_tenants_apart(helpdesk: Path) -> None:
    async with program(helpdesk, "stoker", "up", STOKER__DOMAIN="helpdesk", STOKER__API__PORT="0") as up:
        urls = await printed_urls(up)
        async with program(helpdesk, "uvicorn", "helpdesk.app:app", "--port", "0", **urls) as web:
            address = (await web.until(r"running on (http://\S+)"))[1]
            async with httpx.AsyncClient(base_url=address, timeout=20) as client:
                await use(client)


async def use(client: httpx.AsyncClient) -> None:
    """A ticket is opened, discussed, solved; an agent leaves."""
    opened = await client.post("/tenants/1/tickets", headers=ANN, json={"text": "It is broken"})
    ticket = f"/tickets/{opened.json()['id']}"
    said = await client.post(f"{ticket}/comments", headers=BOB, json={"text": "Since when?"})
    assert said.json() == {"state": "applied"}

    read = f"/tenants/1{ticket}"
    page = await client.get(read, headers=ANN)
    assert page.json()["comments"] == [{"agent": "Bob", "body": "Since when?"}]
    known = {"If-None-Match": page.headers["etag"]}
    assert (await client.get(read, headers={**BOB, **known})).status_code == NOT_MODIFIED
    assert (await client.get(f"/tenants/2{ticket}", headers={**BOB, **known})).status_code == NOT_FOUND
    assert (await client.get(read, headers={**STRANGER, **known})).status_code == FORBIDDEN

    solved = await client.put(f"{ticket}/status/solved", headers=ANN)
    assert solved.json() == {"state": "applied"}
    assert (await client.get("/tenants/1/board", headers=ANN)).json() == []
    assert len((await client.get("/tenants/1/board?status=solved", headers=ANN)).json()) == 1
    assert (await client.get("/inbox", headers=BOB)).json() == {"Acme": 0, "Globex": 0}

    assert (await client.delete("/tenants/1/agents/2")).is_success
    assert (await client.get(read, headers={**BOB, **known})).status_code == FORBIDDEN
    assert (await client.get("/inbox", headers=BOB)).json() == {"Globex": 0}
    assert (await client.get(read, headers=ANN)).status_code == OK
