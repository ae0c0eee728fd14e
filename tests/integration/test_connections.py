"""Connections of the HTTP servers: a bounded number, deadlines, and probes that are answered all the same."""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import httpx
import pytest
from prometheus_client import CollectorRegistry
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from stoker.api.limits import BodyLimit
from stoker.settings import ProcessSettings
from stoker.telemetry import serving
from stoker.telemetry.endpoint import endpoint
from stoker.telemetry.serving import Places, Seldom, listen, server

Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]
GET = b"GET %s HTTP/1.1\r\nHost: here\r\n\r\n"


async def ok(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("served")(scope, receive, send)


@asynccontextmanager
async def served(places: Places, app: ASGIApp = ok) -> AsyncIterator[int]:
    with listen("127.0.0.1", 0) as taken:
        running = server(app, places, timeout_graceful_shutdown=1)
        task = asyncio.create_task(running.serve(sockets=[taken]))
        yield int(taken.getsockname()[1])
        running.should_exit = True
        await task


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Pair]:
    pair = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield pair
    finally:
        pair[1].close()


async def asked(port: int, path: bytes) -> bytes:
    async with connected(port) as (reader, writer):
        writer.write(GET % path)
        return await reader.readuntil(b"\r\n\r\n")


async def test_once_all_places_are_taken_only_probes_are_answered(caplog: pytest.LogCaptureFixture) -> None:
    working, release = asyncio.Semaphore(0), asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/work":
            working.release()
            await release.wait()
        await ok(scope, receive, send)

    async with served(Places(2, head_s=60), app) as port, AsyncExitStack() as held:
        for _ in range(2):
            _, writer = await held.enter_async_context(connected(port))
            writer.write(GET % b"/work")
            await working.acquire()
        for _ in range(20):
            answer = await asked(port, b"/api/overview")
            assert b" 503 " in answer
            assert b"retry-after: 1" in answer
            assert b"connection: close" in answer
            assert b" 200 " in await asked(port, b"/healthz")
        release.set()
        await held.aclose()
        async with asyncio.timeout(30):
            while b" 503 " in await asked(port, b"/api/overview"):
                pass  # the server has not heard yet that they are gone
    full = [record for record in caplog.records if record.getMessage() == "http.connections_full"]
    assert len(full) == 1, "one line says it, however many were refused"


async def test_who_owes_the_head_of_a_request_is_closed_at_the_deadline_however_it_is_sent() -> None:
    async with served(Places(10, head_s=0.3)) as port, connected(port) as silent, connected(port) as slow:

        async def drip() -> None:
            for letter in b"GET /" + b"a" * 100_000:
                slow[1].write(bytes([letter]))
                await slow[1].drain()
                await asyncio.sleep(0.02)

        dripping = asyncio.create_task(drip())
        async with asyncio.timeout(20):
            for reader, _ in (silent, slow):
                with suppress(ConnectionError):
                    assert await reader.read() == b""
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)


async def test_a_request_that_is_worked_on_has_no_deadline_for_its_head() -> None:
    begun, release = asyncio.Event(), asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        begun.set()
        await release.wait()
        await ok(scope, receive, send)

    async with served(Places(10, head_s=0.05), slow) as port, connected(port) as (reader, writer):
        writer.write(GET % b"/")
        await begun.wait()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.3)
        release.set()
        assert b" 200 " in await reader.readuntil(b"\r\n\r\n")


async def test_a_body_that_does_not_arrive_is_408_and_the_connection_is_closed() -> None:
    limited = BodyLimit(ok, limit_bytes=100, limit_s=0.2)
    async with served(Places(10, head_s=60), limited) as port, connected(port) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 50\r\n\r\nfirst")
        async with asyncio.timeout(20):
            answer = await reader.read()
    assert b" 408 " in answer
    assert b'"error":"too_slow"' in answer


async def test_hundreds_of_idle_connections_cost_the_workers_endpoint_no_thread_and_no_probe(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """600 of them made 602 threads."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    before = threading.active_count()
    async with endpoint(CollectorRegistry(), ProcessSettings(metrics_port=port)), AsyncExitStack() as held:
        for _ in range(600):
            await held.enter_async_context(connected(port))
        async with httpx.AsyncClient(timeout=10) as client:
            assert (await client.get(f"http://127.0.0.1:{port}/healthz")).status_code == 200
            assert (await client.get(f"http://127.0.0.1:{port}/metrics")).status_code == 503
        # The endpoint's own, and the pool of this loop's that resolves names.
        assert threading.active_count() <= before + 3
    assert len(caplog.records) < 10


def test_there_are_never_more_places_than_files_to_open() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
    try:
        assert Places(100_000, 1).most + serving.SPARE + serving.OTHER_FILES == 1024
        assert Places(512, 1).most == 512
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_line_that_says_the_same_is_written_once_in_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    seldom = Seldom()

    def written(message: str) -> logging.LogRecord | None:
        record = logging.makeLogRecord({"msg": message})
        return record if seldom.filter(record) else None

    shown = [written("Invalid HTTP request received.") for _ in range(1000)]
    assert [one is not None for one in shown[:2]] == [True, False]
    assert sum(one is not None for one in shown) == 1
    assert written("another") is not None
    monkeypatch.setattr(serving, "TOLD_EVERY_S", 0)
    seldom = Seldom()
    assert all(written("the same") for _ in range(3))
