"""SQL engines from settings: a pool each for the application, loaders and operators' questions.

Loaders have a pool of their own, so that a herd of cache misses never starves the application's writes, and
read in one snapshot: several statements of a dashboard see the same moment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import create_async_engine

from stoker.driver import Connections, LimitedEngine
from stoker.postgres.checkout import PING, ask_first, in_one_snapshot, leave_read_only, wait_within_limits
from stoker.schema import use_schema
from stoker.settings import Settings, for_driver, require
from stoker.silence import Silence
from stoker.tables import SCHEMA

CONNECT_S = 5.0
"""Seconds to connect, for an engine that is made without settings; the default of
database.connect_timeout_s."""
NOTHING: Mapping[str, Any] = MappingProxyType({})


def engine_of(
    url: str,
    *,
    connect_args: Mapping[str, Any] = NOTHING,
    local: Mapping[str, str] = NOTHING,
    silence: Silence | None = None,
    schema: str = SCHEMA,
    **options: Any,  # noqa: ANN401 - SQLAlchemy's
) -> LimitedEngine:
    """An engine of SQLAlchemy for a URL that may contain libpq's options; these win over `options`.

    `local`: Postgres settings of every transaction. Every wait is registered with `silence`.
    `schema` is that of Stoker's tables.
    """
    place, told = for_driver(url)
    connections = Connections(silence, local)
    arguments = {"timeout": CONNECT_S, **connect_args, **told}
    made = create_async_engine(
        place, connect_args={**arguments, "async_creator_fn": connections.connect}, **options
    )
    wait_within_limits(made, connections.silence)
    use_schema(made.sync_engine, schema)
    return LimitedEngine(made, connections, arguments)


@dataclass(frozen=True)
class Bounds:
    """What one pool may use."""

    connections: int
    """At most; there are none beyond them."""
    wait_s: float
    """How long a caller waits for one of them."""
    command_s: float
    """How long the driver waits for the answer to a statement."""


def application_engine(settings: Settings, silence: Silence | None = None) -> LimitedEngine:
    """The engine of services, outbox and worker: READ COMMITTED.

    A session that was left in a transaction (its process died, its link was cut) frees its locks by itself.
    """
    database = settings.database
    engine = _pool(
        settings,
        silence,
        Bounds(database.connections, database.connect_timeout_s, database.command_timeout_s),
    )
    event.listen(engine.sync_engine, "handle_error", leave_read_only)
    ask_first(engine, PING, settings.database.connect_timeout_s)
    return engine


def loader_engine(settings: Settings, silence: Silence | None = None) -> LimitedEngine:
    """The loaders' engine: read-only, one snapshot for each load, statements bounded in time."""
    engine = _pool_of_readers(
        settings,
        silence,
        "stoker loader",
        connections=settings.loaders.connections,
        statement_s=settings.loaders.statement_timeout_s,
        # The same few statements by ids, again and again: planning them anew each time took more of
        # Postgres than running them. One that needs a plan of its own says SET LOCAL.
        plans="force_generic_plan",
        pool_reset_on_return=None,  # in_one_snapshot begins and ends the transactions
        isolation_level="AUTOCOMMIT",  # the same
    )
    in_one_snapshot(engine, settings.database.connect_timeout_s)
    return engine


def reading_engine(settings: Settings, silence: Silence | None = None) -> LimitedEngine:
    """The engine of operators' queries: few connections, statements bounded in time."""
    engine = _pool_of_readers(
        settings,
        silence,
        "stoker reader",
        connections=settings.api.read_connections,
        statement_s=settings.api.read_timeout_s,
        # A generic plan, made without the values, would read all failures by id and ignore the index.
        plans="force_custom_plan",
    )
    ask_first(engine, PING, settings.database.connect_timeout_s)
    return engine


def _pool_of_readers(
    settings: Settings,
    silence: Silence | None,
    name: str,
    *,
    connections: int,
    statement_s: float,
    plans: str,
    **options: Any,  # noqa: ANN401 - SQLAlchemy's
) -> LimitedEngine:
    """A pool whose statements Postgres ends after `statement_s`."""
    return _pool(
        settings,
        silence,
        # The server ends a statement before the driver does.
        Bounds(connections, statement_s, statement_s + settings.database.connect_timeout_s),
        connect_args={"server_settings": {"application_name": name}},
        local={"statement_timeout": str(round(statement_s * 1000)), "plan_cache_mode": plans},
        **options,
    )


def _pool(
    settings: Settings,
    silence: Silence | None,
    bounds: Bounds,
    *,
    connect_args: Mapping[str, Any] = NOTHING,
    local: Mapping[str, str] = NOTHING,
    **options: Any,  # noqa: ANN401 - SQLAlchemy's
) -> LimitedEngine:
    """A pool for one purpose; `local`: Postgres settings of its transactions."""
    idle_ms = round(settings.database.idle_in_transaction_s * 1000)
    return engine_of(
        require(settings.database_url, "DATABASE_URL"),
        pool_size=bounds.connections,
        max_overflow=0,
        # The connection that came back last goes out first: its backend has planned the statements already.
        pool_use_lifo=True,
        pool_timeout=bounds.wait_s,
        hide_parameters=True,  # errors are logged
        connect_args={
            "timeout": settings.database.connect_timeout_s,
            "command_timeout": bounds.command_s,
            **connect_args,
        },
        local={"idle_in_transaction_session_timeout": str(idle_ms), **local},
        silence=silence,
        schema=settings.database.schema_name,
        **options,
    )
