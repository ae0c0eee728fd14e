"""Long warmings give way: one user's 5,000 entries do not delay the others."""

# ruff: noqa: F811 - fixtures are imported by name

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from stoker import EntryKey, Scope, Stoker, Warm, WarmPlan, load_settings
from stoker.cache.fill import BuiltBy
from stoker.handlers.warm import TURN
from stoker.jobs import JOBS, Job, Lane
from stoker.queue.enqueue import Queue
from stoker.queue.progress import JobState, Progress
from stoker.settings import CacheSettings, Settings
from stoker.worker.process import runner
from tests.support.engine_fixtures import queue, sql  # noqa: F401
from tests.support.engine_stage import Stage, running, settled
from tests.support.notes import SCHEMA, Notes, note

MANY, FEW = 5_000, 5


async def _entries_of_a_reader(session: AsyncSession, scope: Scope | None) -> Sequence[EntryKey]:
    assert scope is not None
    found = await session.execute(
        text("SELECT note_id FROM note_members WHERE reader_id = :id ORDER BY note_id"), {"id": scope.number}
    )
    return [EntryKey("detail", note(note_id)) for note_id in found.scalars()]


@pytest.fixture
async def stoker(
    database_url: str, queue_url: str, cache_url: str, prefix: str, queue: Queue, sql: AsyncEngine
) -> AsyncIterator[Stoker]:
    """Reader 0 has 5,000 notes, readers 1 to 10 have five each."""
    async with sql.begin() as connection:
        for statement in SCHEMA:
            await connection.execute(text(statement))
        await connection.execute(
            text("INSERT INTO notes SELECT n, 'body' FROM generate_series(1, :all) AS n"),
            {"all": MANY + 10 * FEW},
        )
        await connection.execute(
            text(
                "INSERT INTO note_members SELECT n, CASE WHEN n <= :many THEN 0"
                " ELSE (n - :many - 1) / :few + 1 END FROM generate_series(1, :all) AS n"
            ),
            {"all": MANY + 10 * FEW, "many": MANY, "few": FEW},
        )
    domain = replace(Notes().domain, warm_plans=(WarmPlan("reader", _entries_of_a_reader),))
    settings: Settings = load_settings(
        redis_url=queue_url,
        cache_redis_url=cache_url,
        database_url=database_url,
        queue=queue.settings,
        cache=CacheSettings(prefix=prefix),
    )
    async with Stoker.opened(settings, domain) as opened:
        yield opened


class Order(Stage):
    """Runs real tasks, and notes the ids of jobs in the order in which their last runs end."""

    def __init__(self, stoker: Stoker) -> None:
        super().__init__()
        self.carry_out = runner(stoker)
        self.turns: list[str] = []
        self.done: list[str] = []

    async def run(self, job_id: str, job: Job, attempt: int) -> str:
        """The engine's `run`."""
        self.turns.append(job_id)
        outcome = await self.carry_out(job_id, job, attempt)
        self.done.append(job_id)
        return outcome


async def test_five_thousand_entries_of_one_user_do_not_delay_the_others(
    stoker: Stoker, queue: Queue, queue_url: str, sql: AsyncEngine
) -> None:
    order = Order(stoker)
    progress = Progress(queue.redis, queue.settings)
    big = await queue.enqueue(Warm(target="reader", scope_id="0"))
    others = await queue.enqueue_many(
        [Warm(target="reader", scope_id=str(number + 1)) for number in range(10)]
    )
    async with running(queue, queue_url, order, sql, concurrency=1, job_types=JOBS):
        await settled(queue, Lane.WARM, done=11, failed=0)
    assert order.done == [*(one.job_id for one in others), big.job_id]
    # One turn, then all the others, then the rest: with nobody waiting it does not give way again.
    assert order.turns == [big.job_id, *(one.job_id for one in others), big.job_id]
    found = await progress.read(big.job_id)
    assert found is not None
    assert (found.state, found.done, found.total) == (JobState.DONE, MANY, MANY)


async def test_two_long_warmings_take_turns_and_begin_no_entry_twice(
    stoker: Stoker, queue: Queue, queue_url: str, sql: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = Order(stoker)
    built: list[int] = []
    fill_many = stoker.cache.filler.fill_many

    async def counted(keys: Sequence[EntryKey], by: BuiltBy) -> object:
        built.append(len(keys))
        return await fill_many(keys, by)

    monkeypatch.setattr(stoker.cache.filler, "fill_many", counted)
    one, other = await queue.enqueue_many([Warm(target="reader", scope_id="0")] * 2)
    async with running(queue, queue_url, order, sql, concurrency=1, job_types=JOBS):
        await settled(queue, Lane.WARM, done=2, failed=0)
    turns = MANY // TURN
    assert order.turns[: 2 * turns - 2] == [one.job_id, other.job_id] * (turns - 1)
    assert order.done == [one.job_id, other.job_id]
    assert sum(built) == 2 * MANY
