"""The rows of prediction in Postgres: who predicts, what was learnt, and its history.

Raises DatabaseUnavailable. One worker at a time holds the lease; what another one writes is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError
from pydantic_core import to_json
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from zstandard import ZstdCompressor, ZstdDecompressor

from stoker.postgres import database_errors
from stoker.prediction.contest import DEFAULT
from stoker.warming.figures import PredictionFigures

LEASE_S = 150.0
"""Seconds after its last plan in which a worker keeps the lease: two plans may fail."""
VALID_S = 300.0
"""Seconds after a plan in which what it says is in force; then the default plan warms again."""
LARGEST_STATE = 64 * 1024 * 1024
BEGIN = text("INSERT INTO stoker.warm_predictor (id) VALUES (1) ON CONFLICT DO NOTHING")
HOLD = text(
    "UPDATE stoker.warm_predictor AS row SET holder = :me,"
    " lease_until = clock_timestamp() + make_interval(secs => :lease_s)"
    " FROM (SELECT holder FROM stoker.warm_predictor WHERE id = 1 FOR UPDATE) AS before"
    " WHERE row.id = 1"
    " AND (before.holder IS NULL OR before.holder = :me OR row.lease_until < clock_timestamp())"
    " RETURNING before.holder IS NOT DISTINCT FROM :me AS held"
)
LEAVE = text("UPDATE stoker.warm_predictor SET holder = NULL WHERE id = 1 AND holder = :me")
PLANNED = text(
    "UPDATE stoker.warm_predictor SET in_force = :in_force, figures = CAST(:figures AS jsonb),"
    " planned_at = clock_timestamp() WHERE id = 1 AND holder = :me"
)
SAVED = text(
    "UPDATE stoker.warm_predictor SET state = :state, saved_at = clock_timestamp()"
    " WHERE id = 1 AND holder = :me"
)
HISTORY = text(
    "INSERT INTO stoker.warm_history (at, in_force, figures, weights)"
    " VALUES (date_trunc('hour', clock_timestamp()), :in_force, CAST(:figures AS jsonb),"
    " CAST(:weights AS jsonb)) ON CONFLICT (at) DO NOTHING"
)
NOW = text(
    "SELECT in_force, figures, planned_at, saved_at, holder,"
    " planned_at > clock_timestamp() - make_interval(secs => :valid_s) AS valid"
    " FROM stoker.warm_predictor WHERE id = 1"
)
PAST = text("SELECT at, figures, weights FROM stoker.warm_history ORDER BY at DESC LIMIT :last")
STATE = text("SELECT state FROM stoker.warm_predictor WHERE id = 1")


class Stored(NamedTuple):
    """What the row says. `valid`: it is recent; otherwise the default plan is in force.

    `figures`: None where nobody has planned yet, and where `planned_at` is known: what another release wrote.
    """

    in_force: str | None
    figures: PredictionFigures | None
    planned_at: datetime | None
    saved_at: datetime | None
    holder: str | None
    valid: bool


class PastHour(BaseModel):
    """What an hour began with. `weights`: by feature, one for each of its bins."""

    at: datetime
    figures: PredictionFigures
    weights: dict[str, list[float]]


class Rows:
    """The rows, for one worker: `me`."""

    def __init__(self, engine: AsyncEngine, me: str) -> None:
        self._engine = engine
        self._me = me

    async def hold(self) -> bool | None:
        """Take or renew the lease. True: it was ours all the time; False: since now; None: another has it."""
        with database_errors():
            async with self._engine.begin() as connection:
                await connection.execute(BEGIN)
                row = (await connection.execute(HOLD, {"me": self._me, "lease_s": LEASE_S})).one_or_none()
        return None if row is None else bool(row.held)

    async def leave(self) -> None:
        """Give the lease back."""
        await self._execute(LEAVE, {})

    async def planned(self, figures: PredictionFigures) -> None:
        """Say what is in force."""
        await self._execute(PLANNED, {"in_force": figures.in_force, "figures": figures.model_dump_json()})

    async def save(self, state: bytes) -> None:
        """Keep what was learnt."""
        await self._execute(SAVED, {"state": ZstdCompressor(level=1).compress(state)})

    async def note_hour(self, figures: PredictionFigures, weights: Mapping[str, Any]) -> None:
        """Keep the figures and the weights of this hour."""
        with database_errors():
            async with self._engine.begin() as connection:
                await connection.execute(
                    HISTORY,
                    {
                        "in_force": figures.in_force,
                        "figures": figures.model_dump_json(),
                        "weights": to_json(weights).decode(),
                    },
                )

    async def _execute(self, statement: Any, values: Mapping[str, Any]) -> None:  # noqa: ANN401 - of SQLAlchemy
        with database_errors():
            async with self._engine.begin() as connection:
                await connection.execute(statement, {**values, "me": self._me})


async def stored(engine: AsyncEngine) -> Stored:
    """What was said last; without figures if another release said it in its own way."""
    with database_errors():
        async with engine.connect() as connection:
            row = (await connection.execute(NOW, {"valid_s": VALID_S})).one_or_none()
    if row is None or row.figures is None:
        return Stored(None, None, None, None, None, valid=False)
    figures = _figures(row.figures)
    return Stored(row.in_force, figures, row.planned_at, row.saved_at, row.holder, bool(row.valid))


async def history(engine: AsyncEngine, last: int) -> list[PastHour]:
    """The last hours that were kept, the oldest first; without those of other releases."""
    with database_errors():
        async with engine.connect() as connection:
            rows = (await connection.execute(PAST, {"last": last})).all()
    hours = ((row, _figures(row.figures)) for row in reversed(rows))
    return [
        PastHour(at=row.at, figures=found, weights=row.weights) for row, found in hours if found is not None
    ]


def _figures(kept: object) -> PredictionFigures | None:
    """Figures that this release understands; None for those of a worker of another one."""
    try:
        return PredictionFigures.model_validate(kept)
    except ValidationError:
        return None


async def in_force(engine: AsyncEngine) -> str:
    """Which way of choosing warms now; the default plan where nobody predicts."""
    found = await stored(engine)
    return found.figures.in_force if found.figures is not None and found.valid else DEFAULT


async def state_of(engine: AsyncEngine) -> bytes | None:
    """What was learnt, as `snapshot.load` takes it; None if nothing was, or it cannot be read."""
    with database_errors():
        async with engine.connect() as connection:
            packed = await connection.scalar(STATE)
    if packed is None:
        return None
    try:
        return ZstdDecompressor().decompress(packed, max_output_size=LARGEST_STATE)
    except Exception:  # noqa: BLE001 - bytes that are damaged count as none
        return None
