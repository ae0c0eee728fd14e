"""The worker's own endpoint: metrics, and whether its event loop still turns."""

from __future__ import annotations

import asyncio
import socket

import httpx
import pytest
from prometheus_client import CollectorRegistry

from stoker.settings import ProcessSettings
from stoker.telemetry import endpoint as endpoints
from stoker.telemetry.endpoint import EndpointRefused, endpoint
from stoker.telemetry.metrics import own_process


async def get(port: int, path: str, host: str = "127.0.0.1") -> httpx.Response:
    return await asyncio.to_thread(httpx.get, f"http://{host}:{port}{path}", timeout=60)


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


async def test_the_process_can_be_scraped_and_probed_while_the_worker_runs(port: int) -> None:
    async with endpoint(own_process(), ProcessSettings(metrics_port=port)):
        text = (await get(port, "/metrics")).text
        assert (await get(port, "/healthz")).text == "ok\n"
        assert (await get(port, "/anything")).status_code == 404
    assert "process_resident_memory_bytes" in text
    assert "stoker_" not in text, "what all workers share is the API's to tell, once"


async def test_a_worker_whose_loop_does_not_turn_says_so(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "STUCK_S", -1)
    async with endpoint(CollectorRegistry(), ProcessSettings(metrics_port=port)):
        assert (await get(port, "/healthz")).status_code == 503


async def test_a_taken_port_is_said_clearly(port: int) -> None:
    settings = ProcessSettings(metrics_port=port)
    async with endpoint(CollectorRegistry(), settings):
        with pytest.raises(EndpointRefused, match=r"worker\.metrics_port"):
            async with endpoint(CollectorRegistry(), settings):
                pass


async def test_it_listens_on_ipv6_too(port: int) -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 on this machine")
    async with endpoint(CollectorRegistry(), ProcessSettings(metrics_port=port, metrics_host="::1")):
        assert (await get(port, "/healthz", "[::1]")).status_code == 200
