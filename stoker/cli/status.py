"""`stoker status`: the console's overview in a terminal: servers, workers, lanes, cache, and a summary.

Shows the servers that answer while others are away; without Postgres only which servers answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Annotated

import typer

from stoker.cli.display import models, redraw, show, show_json, size, table
from stoker.cli.lines import BATCH, LANE, aged, lane_rows, warming
from stoker.cli.servers import DATA, Data, Embedded, Json, session
from stoker.errors import DatabaseUnavailable
from stoker.operations.health import Probe, ServerHealth, addresses, examine, name_of
from stoker.operations.judgement import judged
from stoker.operations.overview import overview
from stoker.operations.picture import MemoryNow, Overview, Verdict
from stoker.postgres import reading_engine, sign_of_life
from stoker.redis.pool import close_client, queue_client
from stoker.settings import Settings, require
from stoker.settings.topology import nodes
from stoker.stoker import Stoker

VIEW = ("reads", "hits", "hit_rate", "stale", "loads", "build_ms")
ANSWERED = ("reads", "errors", "stale", "bypass", "p50_s", "p99_s")
MEMORY = ("used", "limit", "policy", "evicted_per_s", "evicted")
CHANGES = ("unsettled", "failing", "oldest_age_s", "applied_last_minute", "term_ms")
REQUESTS = ("count", "oldest_age_s")
PARTS = {
    "lanes": "lanes",
    "dead": "dead letters",
    "rates": "rates of the last hour",
    "views": "reads",
    "changes": "changes",
    "requests": "requested jobs",
    "batches": "batches",
    "verified": "what was compared with SQL",
    "memory": "memory of the cache",
    "queue_memory": "memory of the queue",
    "findings": "what the verifier found",
    "workers": "workers",
    "served": "lanes that are served",
    "prediction": "prediction",
    "last": "latest news",
}
"""The parts of an overview, as this command names them."""
VERIFIED = ("checked", "stale", "nines", "last_at")


def status(
    data: Data = DATA,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two updates with --watch.")] = 2,
    *,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Update until Ctrl-C.")] = False,
    embedded: Embedded = False,
    as_json: Json = False,
) -> None:
    """Show servers, workers, lanes and cache; exit 1 if something is wrong.

    With --json --watch: one object for each line.
    """
    with session(embedded=embedded, data=data) as opened:
        found = asyncio.run(_show(opened.settings, every if watch else None, as_json=as_json))
    if found.verdict is Verdict.WRONG:
        raise typer.Exit(1)


async def _show(settings: Settings, every_s: float | None, *, as_json: bool) -> Overview:
    async with aclosing(_pictures(settings)) as pictures:
        while True:
            found = await anext(pictures)
            _tell(found, every_s, as_json=as_json)
            if every_s is None:
                return found
            await pause_between_updates(every_s)


async def _pictures(settings: Settings) -> AsyncGenerator[Overview]:
    """One overview after another, without end; nothing but the servers' health until Postgres answers."""
    while True:
        try:
            await _require_database(settings)
            async with Stoker.opened(settings) as stoker:
                while True:
                    yield await overview(stoker, settings.api.probe_timeout_s)
        except DatabaseUnavailable as error:
            yield await _without_database(settings, error)


async def pause_between_updates(seconds: float) -> None:
    """Wait for the next update of --watch."""
    await asyncio.sleep(seconds)


async def _require_database(settings: Settings) -> None:
    """Raise DatabaseUnavailable at once where a Stoker would wait for longer to be opened."""
    engine = reading_engine(settings)
    try:
        ask = sign_of_life(engine)
        asked = await examine({"database": ask}, settings.api.probe_timeout_s)
    finally:
        await engine.dispose()
    if (error := asked.servers["database"].error) is not None:
        raise DatabaseUnavailable(error)


async def _without_database(settings: Settings, error: DatabaseUnavailable) -> Overview:
    queue = require(settings.redis_url, "REDIS_URL")
    cache = queue if settings.cache_redis_url is None else settings.cache_redis_url.get_secret_value()

    async def database() -> None:
        raise error

    wait_s = settings.api.probe_timeout_s
    asked = {"database": database, "queue": _ping(queue, wait_s), "cache": _ping(cache, wait_s)}
    health = await examine(asked, wait_s, addresses(settings))
    reason = "Postgres does not answer"
    return judged(Overview(at=datetime.now(UTC), health=health, missing=dict.fromkeys(PARTS, reason)))


def _ping(url: str, wait_s: float) -> Probe:
    async def ping() -> None:
        redis = queue_client(nodes(url)[0], connections=1, wait_s=wait_s)
        try:
            await redis.ping()
        finally:
            await close_client(redis)

    return ping


def _tell(found: Overview, every_s: float | None, *, as_json: bool) -> None:
    if as_json:
        show_json(found, indent=2 if every_s is None else None)
    elif every_s is not None:
        redraw(lambda: _draw(found))
    else:
        _draw(found)


def _server_row(name: str, server: ServerHealth) -> tuple[object, ...]:
    state = "DOWN" if not server.ok else server.state.value
    return name_of(name).removeprefix("the "), server.address, state, server.ms, server.error


def _draw(found: Overview) -> None:
    show(found.says)
    for concern in found.concerns[1:]:
        show(f"- {concern.says}")
    _draw_servers(found)
    if found.workers:
        seen = [(one.name, "silent" if one.gone else "ok", one.silent_s) for one in found.workers]
        table("workers", ["worker", "state", "silent_s"], seen)
    if found.lanes is not None:
        table("lanes", ["lane", *LANE], lane_rows(found.lanes))
    _draw_reads(found)
    _draw_work(found)


def _draw_work(found: Overview) -> None:
    if found.prediction is not None:
        show(warming(found.prediction))
    if found.changes is not None:
        table("changes", CHANGES, [aged(found.changes, CHANGES, "unsettled")])
    if found.requests is not None:
        requests = aged(found.requests, REQUESTS, "count")
        table("requested jobs, undelivered", REQUESTS, [requests])
    if found.batches:
        models("open batches", BATCH, found.batches)
    if found.verified is not None:
        models("verified", VERIFIED, [found.verified])


def _draw_servers(found: Overview) -> None:
    servers = [_server_row(name, server) for name, server in found.health.servers.items()]
    table("servers", ["server", "address", "state", "ms", "error"], servers)
    of_cluster = [
        (one.address, "away" if one.error else one.state.value, one.ms, one.slots, one.error)
        for server in found.health.servers.values()
        for one in server.nodes
    ]
    if of_cluster:
        table("nodes of the cache", ["address", "state", "ms", "slots", "error"], of_cluster)
    if found.memory:
        table("memory", ["server", *MEMORY], [_memory_row(name, one) for name, one in found.memory.items()])
    for reason in dict.fromkeys(found.missing.values()):
        parts = ", ".join(PARTS.get(name, name) for name, why in found.missing.items() if why == reason)
        show(f"not known: {parts} ({reason})")


def _memory_row(name: str, memory: MemoryNow) -> tuple[object, ...]:
    limit = "none" if memory.limit_bytes is None else size(memory.limit_bytes)
    rate = memory.evicted_per_s
    return (
        name_of(name).removeprefix("the "),
        size(memory.used_bytes),
        limit,
        memory.policy,
        rate,
        memory.evicted,
    )


def _draw_reads(found: Overview) -> None:
    if found.views is not None:
        views = [[name, *(getattr(view, what) for what in VIEW)] for name, view in found.views.items()]
        table("views, last hour", ["view", *VIEW], views)
    if found.answered is not None and any(view.reads for view in found.answered.values()):
        read = {name: view for name, view in found.answered.items() if view.reads}
        table(
            "what readers got in the last 5 minutes",
            ["view", *ANSWERED],
            [[name, *(getattr(view, what) for what in ANSWERED)] for name, view in read.items()],
        )
