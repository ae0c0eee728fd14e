"""`stoker status`: servers, lanes and cache, and all in all in words, as the console's overview says it.

Shows what answers, whatever is away: without Postgres only which servers answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Annotated, TypeVar

import typer
from pydantic import BaseModel
from redis.asyncio import Redis

from stoker.cli.display import clear, show, show_json, table
from stoker.cli.opened import Json
from stoker.cli.servers import DATA, Data, Embedded, session
from stoker.console.overview import overview
from stoker.console.picture import Concern, Verdict, WorkerSeen
from stoker.errors import DatabaseUnavailable, Unavailable
from stoker.operations.figures import CacheFigures, LaneFigures, cache_figures, lane_figures
from stoker.settings import Settings, require
from stoker.stoker import Stoker
from stoker.telemetry.health import Health, Probe, examine

T = TypeVar("T")
LANE = ("ready", "deferred", "running", "parked", "dead", "oldest_ready_age_s", "paused", "slots")
VIEW = ("reads", "hits", "hit_rate", "stale", "loads", "build_ms", "superseded")
CHANGES = ("unsettled", "failing", "oldest_age_s")
VERIFIED = ("checked", "stale", "nines", "last_at")


class Status(BaseModel):
    """What `status` shows; a part whose server is away is missing."""

    verdict: Verdict
    says: str
    concerns: list[Concern]
    health: Health
    workers: list[WorkerSeen] | None = None
    lanes: dict[str, LaneFigures] | None = None
    cache: CacheFigures | None = None


def status(
    data: Data = DATA,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks of --watch.")] = 2,
    *,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Look again until Ctrl-C.")] = False,
    embedded: Embedded = False,
    as_json: Json = False,
) -> None:
    """Show servers, lanes and cache; exit 1 if a server is down. With --json --watch: an object a line."""
    with session(embedded=embedded, data=data) as opened:
        ok = asyncio.run(_show(opened.settings, every if watch else None, as_json=as_json))
    if not ok:
        raise typer.Exit(1)


async def _show(settings: Settings, every_s: float | None, *, as_json: bool) -> bool:
    while True:
        try:
            async with Stoker.opened(settings) as stoker:
                return await _look(stoker, settings, every_s, as_json=as_json)
        except DatabaseUnavailable as error:  # at the start: from then on a part is missing
            _tell(await _without_database(settings, error), every_s, as_json=as_json)
        if every_s is None:
            return False
        await pause_between_looks(every_s)


async def _look(stoker: Stoker, settings: Settings, every_s: float | None, *, as_json: bool) -> bool:
    while True:
        found = await _status(stoker, settings)
        _tell(found, every_s, as_json=as_json)
        if every_s is None:
            return found.health.ok
        await pause_between_looks(every_s)


async def pause_between_looks(seconds: float) -> None:
    """Wait for the next look of --watch."""
    await asyncio.sleep(seconds)


async def _status(stoker: Stoker, settings: Settings) -> Status:
    seen = await overview(stoker, settings.api.probe_timeout_s)
    return Status(
        **{name: getattr(seen, name) for name in ("verdict", "says", "concerns", "health", "workers")},
        lanes=await _unless_away(lane_figures(stoker)),
        cache=await _unless_away(cache_figures(stoker)),
    )


async def _without_database(settings: Settings, error: DatabaseUnavailable) -> Status:
    queue = require(settings.redis_url, "REDIS_URL")
    cache = queue if settings.cache_redis_url is None else settings.cache_redis_url.get_secret_value()

    async def database() -> None:
        raise error

    asked = {"database": database, "queue": _ping(queue), "cache": _ping(cache)}
    health = await examine(asked, settings.api.probe_timeout_s)
    says = Concern(verdict=Verdict.WRONG, about="servers", says="Postgres does not answer")
    return Status(verdict=Verdict.WRONG, says="Something is wrong.", concerns=[says], health=health)


def _ping(url: str) -> Probe:
    async def ping() -> None:
        async with Redis.from_url(url) as redis:
            await redis.ping()

    return ping


async def _unless_away(figures: Awaitable[T]) -> T | None:
    try:
        return await figures
    except Unavailable:
        return None


def _tell(found: Status, every_s: float | None, *, as_json: bool) -> None:
    if as_json and every_s is not None:
        show(found.model_dump_json())
    elif as_json:
        show_json(found.model_dump(mode="json"))
    else:
        if every_s is not None:
            clear()
        _draw(found)


def _draw(found: Status) -> None:
    show(found.says)
    for concern in found.concerns:
        show(f"- {concern.says}")
    servers = [
        (name, "ok" if server.ok else "DOWN", server.ms, server.error or "")
        for name, server in found.health.servers.items()
    ]
    table("servers", ["server", "state", "ms", "error"], servers)
    if found.workers:
        seen = [(one.name, "silent" if one.gone else "ok", one.silent_s) for one in found.workers]
        table("workers", ["worker", "state", "silent_s"], seen)
    if found.lanes is not None:
        rows = [(name, *(getattr(lane, what) for what in LANE)) for name, lane in found.lanes.items()]
        table("lanes", ["lane", *LANE], rows)
    if found.cache is not None:
        _draw_cache(found.cache)


def _draw_cache(cache: CacheFigures) -> None:
    rows = [(name, *(getattr(view, what) for what in VIEW)) for name, view in cache.views.items()]
    table("views", ["view", *VIEW], rows)
    table("changes", CHANGES, [[getattr(cache.changes, what) for what in CHANGES]])
    table("verified", VERIFIED, [[getattr(cache.verified, what) for what in VERIFIED]])
