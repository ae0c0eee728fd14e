"""The OpenAPI is what the API does: generated cases find no 5xx and no undocumented answer; roles hold.

STOKER_API_CASES says how many cases each operation gets of either kind; with 60 they are thousands in all.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from stoker.cli.web import address, listening, serve
from stoker.migrate import migrate
from stoker.stoker import Stoker
from tests.library import domain
from tests.support.callers import OPERATOR, TOKENS, VIEWER, bearing
from tests.support.place import Place

CASES = int(os.environ.get("STOKER_API_CASES", "3"))
HOLDERS = {"viewer": VIEWER, "operator": OPERATOR}
"""Token by role."""
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
ENDLESS = "/api/live"
OPEN = {"/healthz", "/readyz"}
ANYBODY = OPEN | {"/api/session"}
"""Answer whoever asks: probes, and who is signed in."""
READS = {"GET"}
OPERATORS_ONLY = {"/api/tokens"}
"""A viewer may not even read them."""
START_S = 90
RATES = dict.fromkeys(("actions_per_minute", "sign_ins_per_minute", "reads_per_minute"), 10**6)
AUTHORITIES = ssl.create_default_context()
"""Read once: each client would read them all again, though nobody here speaks TLS."""


@dataclass(frozen=True)
class Served:
    """A running API."""

    url: str

    def client(self, token: str | None) -> httpx.Client:
        """A client with a token, or without."""
        return httpx.Client(base_url=self.url, headers=bearing(token), timeout=90, verify=AUTHORITIES)

    def operations(self) -> list[tuple[str, str]]:
        """Every method and path that is documented."""
        with self.client(None) as anybody:
            paths = anybody.get("/api/openapi.json").json()["paths"]
        return [(method.upper(), path) for path, item in paths.items() for method in item]


@pytest.fixture
def served(place: Place) -> Iterator[Served]:
    """The API with a viewer's and an operator's token, in a thread with an event loop of its own."""
    configured = place.settings(api={"port": 0, **RATES, "tokens": TOKENS})
    ready, ends = threading.Event(), threading.Event()
    with listening(configured.api) as taken:

        async def main() -> None:
            await migrate(place.database_url, domain)
            async with Stoker.opened(configured, domain) as stoker:
                stop = asyncio.Event()
                serving = asyncio.create_task(serve(stoker, configured, taken, stop))
                ready.set()
                await asyncio.to_thread(ends.wait)
                stop.set()
                await serving

        thread = threading.Thread(target=asyncio.run, args=(main(),))
        thread.start()
        try:
            assert ready.wait(START_S)
            yield Served(address(taken))
        finally:
            ends.set()
            thread.join()


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["valid", "invalid"])
def test_generated_requests_get_only_documented_answers(served: Served, mode: GenerationMode) -> None:
    schema = schemathesis.openapi.from_url(f"{served.url}/api/openapi.json")
    cases = 0
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {OPERATOR}"
        for found in schema.get_all_operations():
            assert isinstance(found, Ok), found
            operation = found.ok()
            if operation.path == ENDLESS:
                continue

            @settings(
                max_examples=CASES,
                deadline=None,
                database=None,
                derandomize=True,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy(generation_mode=mode))
            def ask(case: schemathesis.Case[Any]) -> None:
                nonlocal cases
                cases += 1
                case.call_and_validate(session=session, checks=CHECKS)

            with contextlib.suppress(Unsatisfiable):  # nothing about it can be invalid
                ask()
    with served.client(OPERATOR) as client:
        assert client.get("/api/cache/health").status_code == 200
    assert cases > CASES * 10


def filled(path: str) -> str:
    names = {"{id}": "1", "{job_id}": "none", "{lane}": "warm", "{name}": "prune"}
    for name, value in names.items():
        path = path.replace(name, value)
    return path


BODIES = {
    "/api/cache/invalidate": {"kind": "shelf", "id": "a"},
    "/api/cache/warm": {},
    "/api/cache/refresh": {"kind": "shelf", "id": "a"},
    "/api/cache/compare": {"kind": "shelf", "id": "a"},
    "/api/cache/findings/acknowledge": {"up_to": 1},
    "/api/jobs": {"kind": "prune.v1"},
    "/api/jobs/dead/retry": {"all": True},
    "/api/jobs/dead/discard": {"all": True},
    "/api/jobs/lanes/{lane}/slots": {"slots": None},
    "/api/session": {"token": VIEWER},
    "/api/tokens": {"name": "ann"},
    "/api/tokens/revoke": {"name": "ann"},
    "/api/workers/quiet": {"name": "nobody", "quiet": True},
}
QUERIES = {
    "/api/cache/scope": {"kind": "shelf", "id": "a"},
    "/api/cache/scope/events": {"kind": "shelf", "id": "a"},
    "/api/cache/explain": {"view": "label", "id": "a"},
    "/api/history": {"series": "lane:warm:ready"},
}


def test_each_role_may_what_it_should_on_each_route(served: Served) -> None:
    tried = 0
    for method, path in served.operations():
        if path == ENDLESS:
            continue
        answers = {}
        for role, token in {"nobody": None, "stranger": "x" * 32, **HOLDERS}.items():
            with served.client(token) as client:
                asked = client.request(method, filled(path), json=BODIES.get(path), params=QUERIES.get(path))
                answers[role] = asked.status_code
                tried += 1
        told = f"{method} {path}: {answers}"
        assert all(status < 500 for status in answers.values()), told
        assert answers["operator"] not in (401, 403, 422), told
        if path in ANYBODY and not (path == "/api/session" and method == "DELETE"):
            assert answers["nobody"] == answers["operator"] == 200, told
            continue
        assert answers["nobody"] == answers["stranger"] == 401, told
        acts = (method not in READS and path != "/api/session") or path in OPERATORS_ONLY
        assert (answers["viewer"] == 403) is acts, told
    assert tried > 100


def test_the_stream_needs_a_token_too(served: Served) -> None:
    with served.client(None) as nobody:
        assert nobody.get(ENDLESS).status_code == 401
    with served.client(VIEWER) as viewer, viewer.stream("GET", ENDLESS) as answered:
        assert answered.status_code == 200
        assert answered.headers["content-type"].startswith("text/event-stream")
