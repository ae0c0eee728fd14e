"""The tools of `stoker mcp`: each is one question of `stoker.operations`, asked with a viewer's rights.

An error of Stoker is the tool's answer, in its own words. The audit has the tool and the names that it was
asked about; a question that cannot be audited is not answered.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from importlib.metadata import version
from typing import Annotated, Any, ParamSpec, TypeVar

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from pydantic import BaseModel, Field, ValidationError

from stoker.errors import StokerError
from stoker.history.charts import Length
from stoker.operations import dead, events, workers
from stoker.operations.audit import Actor, act
from stoker.operations.dead import DeadFilter, DeadGroups
from stoker.operations.events import EventChoice, EventList, EventState, EventTrail
from stoker.operations.explain import Explanation, explain, for_viewers
from stoker.operations.overview import overview
from stoker.operations.past import ReadsOverTime, reads_over_time
from stoker.operations.picture import Overview
from stoker.operations.workers import Capacity, Workers
from stoker.settings import Settings
from stoker.stoker import Stoker
from stoker.telemetry.metrics import exposition

P = ParamSpec("P")
R = TypeVar("R")
INSTRUCTIONS = (
    "Stoker keeps a web application's Redis cache right and warm from a background worker. Begin with "
    "`status`; `explain` says why a reader of one entry sees what it sees. Everything here only reads."
)
READS = ToolAnnotations(
    read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False
)
LONGEST_METRICS = 400
Limit = Annotated[int, Field(ge=1, le=50, description="The largest number of rows.")]


class Metrics(BaseModel):
    """Lines of Prometheus' text format."""

    lines: list[str]
    left_out: int


class Tools:
    """The questions. Their names, docstrings and types are what an assistant sees."""

    def __init__(self, stoker: Stoker, settings: Settings) -> None:
        self._reader = stoker.for_reading()
        self._settings = settings

    async def status(self) -> Overview:
        """Servers, workers, lanes, cache and changes now, with a verdict and what needs attention."""
        return await overview(self._reader, self._settings.api.probe_timeout_s)

    async def explain(self, view: str, scope_id: str) -> Explanation:
        """Why a reader of one cache entry sees what it sees: state, stamps, changes, rules, demand."""
        return for_viewers(await explain(self._reader, view, scope_id))

    async def dead_causes(
        self, error: str = "", kind: str = "", since: str = "", limit: Limit = 20
    ) -> DeadGroups:
        """Jobs that will not run again, by cause. `since`: 2h, 14:00, 2026-01-31T14:00 (UTC)."""
        asked = DeadFilter.model_validate({"error": error, "kind": kind, "since": since})
        return await dead.causes(self._reader, limit, asked)

    async def recorded_events(
        self, scope: str = "", state: EventState | None = None, since: str = "", limit: Limit = 20
    ) -> EventList:
        """Recorded changes, the latest first, and whether each is applied. `scope`: KIND:ID."""
        given = {"scope": scope or None, "state": state, "since": since or None, "limit": limit}
        return await events.listing(self._reader, EventChoice.model_validate(given))

    async def event(self, event_id: int) -> EventTrail:
        """One change: recorded, applied, refreshed, read; with times and who did it."""
        return await events.trail(self._reader, event_id)

    async def worker_processes(self) -> Workers:
        """Worker processes of the last hour: release, lanes, busy slots, memory, last report."""
        return await workers.listing(self._reader)

    async def capacity(self) -> Capacity:
        """How much of the workers' slots is used, how long each backlog takes, and what would help."""
        return await workers.capacity(self._reader)

    async def history(self, view: str, length: Length = Length.HOUR) -> ReadsOverTime:
        """How long reads of one view took over time, since when they are slow, and what happened then."""
        return await reads_over_time(self._reader, view, length)

    async def metrics(self, prefix: str = "stoker_") -> Metrics:
        """The metrics whose names begin with a prefix, as Prometheus scrapes them; no histogram buckets."""
        text = (await exposition(self._reader, self._settings)).decode()
        lines = [one for one in text.splitlines() if one.startswith(prefix) and "_bucket{" not in one]
        return Metrics(lines=lines[:LONGEST_METRICS], left_out=max(0, len(lines) - LONGEST_METRICS))


TOOLS = (
    "status",
    "explain",
    "dead_causes",
    "recorded_events",
    "event",
    "worker_processes",
    "capacity",
    "history",
    "metrics",
)


def server_of(stoker: Stoker, settings: Settings, actor: Actor) -> MCPServer[Any]:
    """The server of an open Stoker; `actor` is named in the audit."""
    tools = Tools(stoker, settings)
    made: MCPServer[Any] = MCPServer("stoker", instructions=INSTRUCTIONS, version=version("stoker"))
    for name in TOOLS:
        made.tool(name=name, annotations=READS)(_audited(stoker, actor, name, getattr(tools, name)))
    return made


def _audited(
    stoker: Stoker, actor: Actor, name: str, ask: Callable[P, Awaitable[R]]
) -> Callable[P, Awaitable[R]]:
    @wraps(ask)
    async def asked(*args: P.args, **given: P.kwargs) -> R:
        try:
            await act(stoker, actor, f"mcp.{name}", {key: str(value)[:128] for key, value in given.items()})
            return await ask(*args, **given)
        except (StokerError, ValidationError) as error:
            raise ToolError(str(error)) from error

    return asked
