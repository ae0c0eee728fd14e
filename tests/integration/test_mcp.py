"""`stoker mcp`: an assistant reads what a viewer reads, changes nothing, and is named in the audit."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from mcp import Client, StdioServerParameters, stdio_client
from sqlalchemy import text

from stoker import Stoker
from stoker.mcp.server import TOOLS, server_of
from stoker.operations.audit import Actor, audited
from stoker.settings import Settings
from tests.integration.test_past import SLOW, read_minutes
from tests.support.notes import NoteChanged, Notes, write_notes
from tests.support.place import Place

PAYLOAD = "secret-of-a-user"


@pytest.fixture
def settings(place: Place) -> Settings:
    return place.settings(cache={"near_bytes": 0})


@pytest.fixture
async def stoker(settings: Settings) -> AsyncIterator[Stoker]:
    async with Stoker.opened(settings, Notes().domain) as stoker:
        async with stoker.session() as session, session.begin():
            await write_notes(session, 3)
            stoker.record(session, NoteChanged(note_id=1))
            await session.execute(
                text(
                    "INSERT INTO stoker.dead_jobs (job_id, lane, kind, payload, reason, error, traceback,"
                    " fingerprint, attempts) VALUES ('j1', 'warm', 'warm.v1', jsonb_build_object('a',"
                    " CAST(:payload AS text)), 'failed', 'KeyError: x', :payload, md5('x'), 1)"
                ),
                {"payload": PAYLOAD},
            )
        await stoker.read("detail", 1, reader=7)
        await read_minutes(stoker, SLOW)
        yield stoker


async def answer(client: Client, tool: str, **given: object) -> dict[str, Any]:
    found = await client.call_tool(tool, given)
    assert not found.is_error, found.content
    content: dict[str, Any] = found.structured_content or {}
    return content


async def test_every_tool_answers_and_is_audited(stoker: Stoker, settings: Settings) -> None:
    server = server_of(stoker, settings, Actor("cli:ann"))
    async with Client(server) as client:
        tools = (await client.list_tools()).tools
        assert [tool.name for tool in tools] == list(TOOLS)
        assert all(tool.annotations and tool.annotations.read_only_hint for tool in tools)
        assert all(tool.description for tool in tools)
        answers = {
            "status": await answer(client, "status"),
            "explain": await answer(client, "explain", view="detail", scope_id="1"),
            "dead_causes": await answer(client, "dead_causes", error="keyerror"),
            "recorded_events": await answer(client, "recorded_events", scope="note:1"),
            "worker_processes": await answer(client, "worker_processes"),
            "capacity": await answer(client, "capacity"),
            "history": await answer(client, "history", view="detail"),
            "metrics": await answer(client, "metrics", prefix="stoker_server_up"),
        }
        (event,) = answers["recorded_events"]["events"]
        answers["event"] = await answer(client, "event", event_id=event["id"])
    assert answers["explain"]["access"] == {
        "rule": "members of note:1, by view access",
        "number": 1,
        "readers": {},
        "asked": None,
        "role": None,
    }
    assert [group["letters"] for group in answers["dead_causes"]["groups"]] == [1]
    assert answers["event"]["steps"][1]["what"] == "not applied"
    (step,) = [one for one in answers["history"]["steps"] if one["reads_per_minute"]]
    assert (step["reads_per_minute"], step["p99_s"]) == (10, 1.9)
    assert answers["history"]["slow_since"] == step["at"]
    assert len(answers["metrics"]["lines"]) == 3
    assert PAYLOAD not in str(answers), "no payload is shown"
    rows = (await audited(stoker.engine, "cli:ann", "mcp", 20)).entries
    assert sorted(row.action for row in rows) == sorted(f"mcp.{name}" for name in TOOLS)
    asked = next(row for row in rows if row.action == "mcp.explain")
    assert asked.arguments == {"view": "detail", "scope_id": "1"}


async def test_a_wrong_question_is_answered_in_words(stoker: Stoker, settings: Settings) -> None:
    async with Client(server_of(stoker, settings, Actor("ann"))) as client:
        for tool, given, said in (
            ("explain", {"view": "nothing", "scope_id": "1"}, "nothing"),
            ("history", {"view": "nothing"}, "nothing"),
            ("history", {"view": "detail", "length": "week"}, "month"),
            ("event", {"event_id": 999}, "there is no event 999"),
            ("dead_causes", {"since": "yesterday"}, "is no moment"),
        ):
            found = await client.call_tool(tool, given)
            assert found.is_error
            assert said in str(found.content)


async def test_an_assistant_starts_the_command_itself(place: Place) -> None:
    command = StdioServerParameters(
        command=sys.executable,
        args=["-m", "stoker", "mcp", "--as", "ann"],
        env={**os.environ, **place.environment(), "STOKER__DOMAIN": "tests.support.drill_domain"},
    )
    async with Client(stdio_client(command)) as client:
        assert (await answer(client, "status"))["health"]["ok"] is True
