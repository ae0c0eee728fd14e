"""From a web app's commit over the relay to the refresh: one trace, through Postgres and the queue."""

from __future__ import annotations

import asyncio
import itertools
import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import text

from stoker import tracing
from stoker.jobs import Refresh
from stoker.migrate import migrate
from stoker.queue import wire
from stoker.settings import Settings
from stoker.stoker import Stoker
from stoker.tables import cache_events
from stoker.telemetry.log import fields
from stoker.worker.process import run_worker
from tests.library import ShelfRenamed, domain
from tests.support.place import Place

LONGEST_S = 90


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    monkeypatch.setattr(tracing, "_untraced_until_s", 0.0)
    yield exporter
    provider.shutdown()


@pytest.fixture
async def stoker(place: Place) -> AsyncIterator[Stoker]:
    settings = place.settings(
        cache={"stats_flush_s": 0.05},
        schedule={"enable_background_warming": False},
        worker={"sweep_s": 600},
    )
    await migrate(place.database_url, domain)
    async with Stoker.opened(settings, domain) as opened:
        async with opened.session() as session, session.begin():
            await session.execute(text("INSERT INTO shelves (id, label) VALUES ('a', 'A')"))
        yield opened


async def rename(stoker: Stoker) -> int:
    async with stoker.session() as session, session.begin():
        await session.execute(text("UPDATE shelves SET label = 'B'"))
        receipt = stoker.record(session, ShelfRenamed(shelf="a"))
    return receipt.event_id


async def named(spans: InMemorySpanExporter, name: str) -> ReadableSpan:
    async with asyncio.timeout(LONGEST_S):
        while True:
            for span in spans.get_finished_spans():
                if span.name == name:
                    return span
            await asyncio.sleep(0.02)  # an exporter has nothing to wait on


def trace_ids(spans: Sequence[ReadableSpan]) -> set[int]:
    return {span.context.trace_id for span in spans if span.context}


async def test_commit_relay_and_refresh_are_one_trace(stoker: Stoker, spans: InMemorySpanExporter) -> None:
    await stoker.read("label", "a")  # it is read: a change refreshes it
    await stoker.accounting.flush(stoker.cache.store.client, stoker.cache.store.keys)
    stop = asyncio.Event()
    assert isinstance(stoker.settings, Settings)
    worker = asyncio.create_task(run_worker(stoker, stoker.settings, stop))
    try:
        with tracing.span("PUT /shelves/a"):
            event_id = await rename(stoker)
        refreshed = await named(spans, "run refresh.v1")
        relayed = await named(spans, "run relay.v1")
    finally:
        stop.set()
        await worker
    web, recorded = await named(spans, "PUT /shelves/a"), await named(spans, "record shelf.renamed")
    applied = await named(spans, "apply shelf.renamed")
    chain = [web, recorded, applied, refreshed]
    assert len(trace_ids([*chain, relayed])) == 1
    for parent, child in itertools.pairwise(chain):
        assert parent.context
        assert child.parent
        assert child.parent.span_id == parent.context.span_id, child.name
    assert applied.attributes
    assert applied.attributes["stoker.event_id"] == event_id
    assert (applied.start_time or 0) >= (web.start_time or 0)


async def test_without_an_sdk_nothing_is_stored(stoker: Stoker) -> None:
    await rename(stoker)
    async with stoker.engine.connect() as connection:
        assert (
            await connection.scalars(cache_events.select().with_only_columns(cache_events.c.trace))
        ).all() == [None]


@pytest.mark.parametrize(
    "damaged", ["", "00-0-0-01", f"00-{'0' * 32}-{'1' * 16}-01", f"ff-{'1' * 32}-{'1' * 16}-01", "x" * 55]
)
def test_a_damaged_traceparent_begins_a_trace_of_its_own(damaged: str, spans: InMemorySpanExporter) -> None:
    with tracing.resumed(damaged), tracing.span("run"):
        pass
    assert tracing.recorded("apply", damaged, 0) is None
    (span,) = spans.get_finished_spans()
    assert span.parent is None


def test_a_job_carries_its_trace_where_a_stock_client_does_not_read() -> None:
    traceparent = f"00-{'1' * 32}-{'2' * 16}-01"
    payload = wire.encode(Refresh(view="label", scope_id="a"), 1, traceparent)
    assert wire.decode(payload).trace == traceparent
    assert payload.startswith(b'{"flag":'), "the scripts read its beginning"
    assert wire.decode(wire.encode(Refresh(view="label", scope_id="a"), 1)).trace is None


def test_a_line_that_is_logged_inside_a_span_names_its_trace(spans: InMemorySpanExporter) -> None:
    with tracing.span("run"):
        said = fields(logging.makeLogRecord({"msg": "some.event"}))
    (span,) = spans.get_finished_spans()
    assert span.context
    assert said == {"trace_id": f"{span.context.trace_id:032x}"}


def test_without_opentelemetry_everything_works_the_same() -> None:
    code = """
import sys
sys.modules["opentelemetry"] = None
import jobs
from stoker import tracing
with tracing.resumed("x"), tracing.span("run") as traceparent:
    assert traceparent is tracing.current() is tracing.trace_id() is None
assert tracing.recorded("apply", "x", 0) is None
"""
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603 - our own interpreter and code
