"""docs/operations/redis: with these rights everything works, and nothing else is allowed."""

from __future__ import annotations

import asyncio
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, ResponseError
from redis.exceptions import ConnectionError as NotYet
from sqlalchemy import text

import stoker
from stoker import State, Stoker
from stoker.embedded import binaries
from stoker.handlers.relay import apply_all
from stoker.jobs import Refresh
from stoker.worker.process import run_worker
from tests.support.callers import FROM_PAGE, TOKENS, client, sign_in
from tests.support.notes import EVERY_SCOPE_CHANGED, NoteChanged, Notes, write_notes
from tests.support.operations import OPERATIONS
from tests.support.place import Place

COMMAND = re.compile(r"(?:call\(|pcall\(redis\.call, |own\()'([A-Z]+)'")
PASSWORD = "a-password-of-the-test"  # noqa: S105 - of this file only
LIBRARY = Path(stoker.__file__).parent
READS = (
    "/api/overview",
    "/api/jobs",
    "/api/jobs/batches",
    "/api/jobs/queues",
    "/api/jobs/dead",
    "/api/schedule",
    "/api/cache/stats",
    "/api/cache/scope?kind=note&id=7",
    "/api/cache/entries",
    "/api/cache/invalidated",
    "/metrics",
)


def test_each_command_of_the_scripts_is_allowed() -> None:
    """Those that no page and no job of the test below needs, too: of fair keys and batches."""
    for role, packages in (("queue", ("queue", "worker/engine", "api", "history")), ("cache", ("cache",))):
        sources = [path for one in packages for path in (LIBRARY / one / "lua").glob("*.lua")]
        needed = {name.lower() for path in sources for name in COMMAND.findall(path.read_text())}
        allowed = set(re.findall(r"\+(\S+)", (OPERATIONS / "redis" / f"{role}.acl").read_text()))
        assert len(needed) > 3
        assert needed - allowed == set()


@dataclass(frozen=True)
class Guarded:
    """A server with a file of rights, and the test's own way in."""

    url: str
    admin: Redis

    def refusals(self) -> list[str]:
        """What Stoker's user was refused."""
        entries: Any = self.admin.acl_log()
        return [f"{entry['reason']} {entry['object']}" for entry in entries]


@contextmanager
def guarded(role: str, where: Path) -> Iterator[Guarded]:
    """A Valkey with the rights of a role."""
    where.mkdir()
    rights = (OPERATIONS / "redis" / f"{role}.acl").read_text().replace("@PASSWORD@", PASSWORD)
    admin = "user admin on nopass ~* &* +@all\n"
    (where / "users.acl").write_text(rights + admin)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    policy = "noeviction" if role == "queue" else "allkeys-lfu"
    options = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(where), "--save", ""]
    server = subprocess.Popen(  # noqa: S603 - our own program
        [binaries.valkey_server(), *options, "--maxmemory-policy", policy, "--aclfile", where / "users.acl"],
        stdout=subprocess.DEVNULL,
    )
    ours = Redis(port=port, username="admin", password="any", decode_responses=True)  # noqa: S106 - of the test
    try:
        _wait(ours, server)
        yield Guarded(f"redis://stoker:{PASSWORD}@127.0.0.1:{port}/0", ours)
    finally:
        ours.close()
        server.kill()
        server.wait()


def _wait(ours: Redis, server: subprocess.Popen[bytes]) -> None:
    while server.poll() is None:
        try:
            ours.ping()
        except NotYet:
            continue
        return
    pytest.fail("the server refuses its file of rights")


@pytest.fixture
def both(tmp_path: Path) -> Iterator[tuple[Guarded, Guarded]]:
    with guarded("queue", tmp_path / "queue") as queue, guarded("cache", tmp_path / "cache") as cache:
        yield queue, cache


async def test_web_app_worker_and_api_need_no_other_rights(
    both: tuple[Guarded, Guarded], place: Place
) -> None:
    queue, cache = both
    there = replace(place, queue_url=queue.url, cache_url=cache.url, prefix="stoker")
    settings = there.settings(api={"tokens": TOKENS}, worker={"history_every_s": 0.2})
    stop = asyncio.Event()
    async with Stoker.opened(settings, Notes().domain) as stoker:
        async with stoker.session() as session, session.begin():
            await write_notes(session, 7)
        working = asyncio.create_task(run_worker(stoker, settings, stop))
        states = [(await stoker.read("detail", 7, reader=7)).state for _ in range(2)]
        assert states[-1] is State.HIT
        async with stoker.session() as session, session.begin():
            receipt = stoker.record(session, NoteChanged(note_id=7))
        await receipt.applied()
        async with client(stoker, settings, at="console.example") as page:
            await _use(page, stoker)
        stop.set()
        await working
    assert queue.refusals() == []
    assert cache.refusals() == []


async def test_every_scope_is_invalidated_with_these_rights(tmp_path: Path, place: Place) -> None:
    with guarded("cache", tmp_path / "cache") as cache:
        there = replace(place, cache_url=cache.url, prefix="stoker")
        async with Stoker.opened(there.settings(), Notes().domain) as stoker:
            async with stoker.session() as session, session.begin():
                await write_notes(session, 1)
            states = [(await stoker.read("detail", 1, reader=7)).state for _ in range(2)]
            async with stoker.session() as session, session.begin():
                await session.execute(text(EVERY_SCOPE_CHANGED))
            assert await apply_all(stoker) == 1
            states.append((await stoker.read("detail", 1, reader=7)).state)
        assert states == [State.MISS, State.HIT, State.MISS]
        assert cache.refusals() == []


async def _use(page: httpx.AsyncClient, stoker: Stoker) -> None:
    """Whatever the console does: reads, actions, jobs that wait, run and are cancelled."""
    assert (await sign_in(page)).status_code == 200
    note_7 = {"kind": "note", "id": 7}
    acts: tuple[tuple[str, Any], ...] = (
        ("/api/cache/invalidate", note_7),
        ("/api/cache/refresh", note_7),
        ("/api/cache/warm", {"target": "note", "id": 7}),
        ("/api/jobs/lanes/refresh/pause", None),
    )
    for path, body in acts:
        acted = await page.post(path, json=body, headers=FROM_PAGE)
        assert acted.status_code in (200, 202), (path, acted.text)
    waiting = await stoker.enqueue(Refresh(view="detail", scope_id="7"))
    for path in (*READS, f"/api/jobs/{waiting.job_id}"):
        assert (await page.get(path)).status_code == 200, path
    assert (await page.get("/api/jobs/unknown")).status_code == 404  # its result was asked for, too
    ends: tuple[tuple[str, str, Any], ...] = (
        ("POST", f"/api/jobs/{waiting.job_id}/cancel", None),
        ("PUT", "/api/jobs/lanes/warm/slots", {"slots": 3}),
        ("POST", "/api/jobs/lanes/refresh/resume", None),
        ("DELETE", "/api/session", None),
    )
    for method, path, body in ends:
        acted = await page.request(method, path, json=body, headers=FROM_PAGE)
        assert acted.is_success, (path, acted.text)


REFUSED = r"(?i)permission|ACL|user executing the script can't"
"""Redis 7.0 says the last of what a script does."""


@pytest.mark.parametrize("role", ["queue", "cache"])
def test_nothing_else_is_allowed(role: str, tmp_path: Path) -> None:
    with guarded(role, tmp_path / role) as server:
        nobody = server.url.replace(f"stoker:{PASSWORD}@", "")
        with Redis.from_url(nobody) as anybody, pytest.raises(AuthenticationError):
            anybody.ping()
        with Redis.from_url(server.url) as stoker:
            refused = (
                ("GET", "another-application:key"),
                ("KEYS", "*"),
                *([("SCAN", "0")] if role == "queue" else []),
                ("FLUSHALL",),
                ("CONFIG", "GET", "*"),
                ("CONFIG", "SET", "dir", "/tmp"),  # noqa: S108 - it is refused
                ("REPLICAOF", "192.0.2.1", "6379"),
                ("ACL", "LIST"),
                ("SAVE",),
                ("SHUTDOWN",),
                ("MONITOR",),
                ("MODULE", "LIST"),
                ("SCRIPT", "FLUSH"),
                ("FUNCTION", "LIST"),
                ("CLIENT", "KILL", "TYPE", "normal"),
                ("PUBLISH", "channel", "x"),
                ("EVAL", "return redis.call('KEYS', '*')", "0"),
                ("EVAL", "return redis.call('GET', 'another-application:key')", "0"),
            )
            for command in refused:
                with pytest.raises((NoPermissionError, ResponseError), match=REFUSED):
                    stoker.execute_command(*command)
