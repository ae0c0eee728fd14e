"""The examples, as their pages say they are run. The shop is the README's: see test_readme.py."""

from __future__ import annotations

import asyncio
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.support.programs import printed_urls, program

EXAMPLES = Path(__file__).parents[2] / "examples"
ANN, BOB, STRANGER = ({"X-Agent": str(number)} for number in (1, 2, 3))
OK, FORBIDDEN, NOT_FOUND, NOT_MODIFIED = 200, 403, 404, 304


@pytest.fixture
def example(tmp_path: Path) -> Callable[[str], Path]:
    """The folder of an example, with nothing in it but its files."""

    def copied(name: str) -> Path:
        ours = shutil.ignore_patterns("__pycache__", ".data", ".pytest_cache")
        return Path(shutil.copytree(EXAMPLES / name, tmp_path / name, ignore=ours))

    return copied


@pytest.fixture
def helpdesk(example: Callable[[str], Path]) -> Path:
    """The folder of the helpdesk."""
    return example("helpdesk")


@pytest.mark.parametrize(("name", "tests"), [("helpdesk", 8), ("guestbook", 2), ("polls", 4)])
async def test_the_tests_of_an_example_pass(example: Callable[[str], Path], name: str, tests: int) -> None:
    async with program(example(name), "pytest") as running:
        assert await running.ended() == 0, "".join(running.lines)
        assert f"{tests} passed" in running.lines[-1]


async def test_the_guestbook_serves_from_forked_workers(example: Callable[[str], Path]) -> None:
    """Gunicorn imports the application, forks, and each worker has threads."""
    folder = example("guestbook")
    serve = "gunicorn --preload --workers 2 --threads 4 --bind 127.0.0.1:0 guestbook:app"
    async with program(folder, "stoker", "up", STOKER__DOMAIN="guestbook", STOKER__API__PORT="0") as up:
        urls = await printed_urls(up)
        async with program(folder, *shlex.split(serve), **urls) as web:
            address = (await web.until(r"Listening at: (http://\S+)"))[1]
            async with httpx.AsyncClient(base_url=address, timeout=20) as client:
                for number in range(20):
                    entry = {"name": str(number), "words": "Lovely"}
                    signed = await client.post("/books/1", json=entry)
                    assert signed.json() == {"state": "applied"}
                    pages = await asyncio.gather(*(client.get("/books/1") for _ in range(4)))
                    assert [page.json()[0] for page in pages] == [entry] * 4


async def test_the_polls_serve_what_django_has_committed(example: Callable[[str], Path]) -> None:
    folder = example("polls")
    create = (
        "from polls.models import Poll; Poll.objects.create(question='Tea?').choice_set.create(words='Yes')"
    )
    async with program(folder, "stoker", "up", STOKER__DOMAIN="polls.cached", STOKER__API__PORT="0") as up:
        urls = await printed_urls(up)
        for command in (("migrate",), ("shell", "-c", create)):
            async with program(folder, sys.executable, "manage.py", *command, **urls) as ran:
                assert await ran.ended() == 0, "".join(ran.lines)
        serve = "gunicorn --workers 2 --threads 4 --bind 127.0.0.1:0 polls.wsgi"
        async with program(folder, *shlex.split(serve), **urls) as web:
            address = (await web.until(r"Listening at: (http://\S+)"))[1]
            async with httpx.AsyncClient(base_url=address, timeout=20) as client:
                for votes in range(1, 11):
                    voted = await client.post("/choices/1/vote")
                    assert voted.json() == {"state": "applied"}
                    assert (await client.get("/polls/1")).json()["votes"] == {"Yes": votes}


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
