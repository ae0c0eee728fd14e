"""Workers that are killed or told to stop, and servers that go away: nothing is lost, nothing stays stuck."""

# ruff: noqa: F811 - fixtures are imported by name

from __future__ import annotations

import asyncio
import signal

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from stoker import embedded
from stoker.errors import QueueUnavailable
from stoker.jobs import Lane
from stoker.queue.answers import Answer
from stoker.queue.enqueue import Queue
from stoker.queue.wire import queue_name
from stoker.redis.pool import LONGEST_CONNECT_S
from stoker.worker.engine.claims import SUSPECT_RESCUES, Claims
from stoker.worker.engine.dead_letters import DeadLetters, Which
from stoker.worker.engine.depth import depth
from stoker.worker.engine.runner import EngineSettings
from stoker.worker.engine.verdict import RESCUES_ALLOWED
from tests.support.engine_fixtures import known_jobs, queue, sql, stage  # noqa: F401
from tests.support.engine_stage import Elsewhere, Keyed, Long, Stage, Work, eventually, running, settled
from tests.support.engine_workers import Process, Start, start_worker  # noqa: F401

BACK_WITHIN_S = 2
"""From a server's return until lanes work again: a part's longest wait, and the longest try to connect."""
MARGIN_S = 0.4
LONG_S = 60.0
"""The life of a claim that does not expire while a test runs."""
CRASHES_TO_LONGEST = 5
"""From the fifth in a row on, a part waits as long as it ever will."""
PROMISED_S = 10
"""From the kill until another worker runs the job, whatever the job's own timeout."""


async def test_a_killed_workers_long_job_runs_again_within_ten_seconds_and_costs_no_try(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine, start_worker: Start
) -> None:
    victim = await start_worker()
    async with running(queue, queue_url, stage, sql, concurrency=4) as ours:
        ours.engine.set_concurrency(Lane.WARM, 0)
        await queue.enqueue(Long(name="hang"))
        await victim.says("hang 1")
        ours.engine.set_concurrency(Lane.WARM, 1)
        assert await victim.ends_by(signal.SIGKILL) == -signal.SIGKILL
        await stage.until(lambda: stage.runs == [("hang", 1)])
        # By what a rescue waits for, not by a clock: a claim expires, and the next upkeep finds it.
        life_s = EngineSettings(lanes={}).claim_life_s
        assert life_s * (1 + 1 / 3) < PROMISED_S - MARGIN_S
        await settled(queue, Lane.WARM, done=1, rescued=1, failed=0)


async def test_a_long_job_keeps_its_claim_because_it_is_renewed(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    release = stage.hold("long")
    name = f"{queue.settings.prefix}:{Lane.WARM}:running"
    async with (
        running(queue, queue_url, stage, sql, claim_life_s=0.9),
        running(queue, queue_url, stage, sql, claim_life_s=0.9),
    ):
        asked = await queue.enqueue(Work(name="long"))
        await stage.until(lambda: bool(stage.runs))
        first_deadline_ms = await queue.redis.zscore(name, asked.job_id)
        assert first_deadline_ms is not None

        async def outlived() -> bool:
            deadline_ms = await queue.redis.zscore(name, asked.job_id)
            return deadline_ms is not None and deadline_ms > first_deadline_ms + 2500

        await eventually(outlived)
        release.set()
        await settled(queue, Lane.WARM, done=1, rescued=0)
    assert stage.runs == [("long", 1)]


async def test_a_waiting_flag_survives_the_death_of_its_worker(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine, start_worker: Start
) -> None:
    # RACES 40: the flag is never older than its job, and no request joins a job that nobody will run.
    victim = await start_worker()
    first = await queue.enqueue(Keyed(name="hang"))
    await victim.says("hang 1")
    second = await queue.enqueue(Keyed(name="hang"))
    assert second.answer is Answer.WILL_RERUN
    await victim.ends_by(signal.SIGKILL)
    assert (await queue.enqueue(Keyed(name="hang"))).answer is Answer.COALESCED
    async with running(queue, queue_url, stage, sql):
        await settled(queue, Lane.REFRESH, done=2, running=0, ready=0)
    assert (await queue.enqueue(Keyed(name="hang"))).answer is Answer.ENQUEUED
    assert first.job_id != second.job_id


async def test_a_job_that_kills_three_workers_is_quarantined_and_its_neighbours_are_not(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine, start_worker: Start
) -> None:
    await queue.enqueue_many([Work(name="slow-a"), Work(name="slow-b"), Work(name="die")])
    for _ in range(3):
        victim = await start_worker(claim_life_s="1.5")
        async with asyncio.timeout(40):
            await victim.inner.wait()
    async with running(queue, queue_url, stage, sql, claim_life_s=1.5):
        # The neighbours ended by themselves once the suspects ran one by one.
        await settled(queue, Lane.WARM, done=2, dead=1, running=0)
    (letter,) = await DeadLetters(sql).list(Which())
    assert (letter.reason, letter.payload["name"], letter.attempts) == ("quarantined", "die", 0)


async def test_a_suspects_neighbours_are_not_blamed_in_other_lanes_either(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine, start_worker: Start
) -> None:
    suspect = await queue.enqueue(Work(name="die-late"))
    neighbour = await queue.enqueue(Elsewhere(name="hang"))
    rescues = f"{queue.settings.prefix}:rescues"
    await queue.redis.set(f"{rescues}:{suspect.job_id}", SUSPECT_RESCUES)
    victim = await start_worker(claim_life_s="1.5")
    async with asyncio.timeout(40):
        await victim.inner.wait()
    release = stage.hold("hang")
    async with running(queue, queue_url, stage, sql, claim_life_s=1.5):
        await settled(queue, Lane.WARM, dead=1, running=0)
        await stage.until(lambda: stage.runs == [("hang", 1)])
        assert not await queue.redis.exists(f"{rescues}:{neighbour.job_id}")
        release.set()
        await settled(queue, Lane.REFRESH, done=1, rescued=1)
    (letter,) = await DeadLetters(sql).list(Which())
    assert (letter.job_id, letter.reason) == (suspect.job_id, "quarantined")


async def test_jobs_of_living_processes_are_not_blamed_for_the_death_of_another(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine, start_worker: Start
) -> None:
    release = stage.hold("innocent")
    rescuer = Claims(queue.connection, queue.settings)
    async with running(queue, queue_url, stage, sql, claim_life_s=LONG_S, concurrency=1):
        await queue.enqueue(Work(name="innocent"))
        await stage.until(lambda: stage.runs == [("innocent", 1)])  # and its worker is full
        killer = await queue.enqueue(Work(name="die"))
        for _ in range(RESCUES_ALLOWED):
            victim = await start_worker(claim_life_s=str(LONG_S))
            async with asyncio.timeout(40):
                await victim.inner.wait()
            # Only the dead one's claim expires: on a busy machine a living process may be late, too.
            lane = queue_name(queue.settings, Lane.WARM)
            await queue.redis.zadd(f"{lane}:running", {killer.job_id: 0}, xx=True)
            await rescuer.upkeep({Lane.WARM: []}, rescue=True)
        rescues = f"{queue.settings.prefix}:rescues"
        await settled(queue, Lane.WARM, rescued=RESCUES_ALLOWED, running=1)
        counted = [key.decode() async for key in queue.redis.scan_iter(f"{rescues}:*")]
        assert counted == [f"{rescues}:{killer.job_id}"]
        release.set()
        await settled(queue, Lane.WARM, done=1, dead=1, running=0)
    assert stage.runs == [("innocent", 1)]


async def test_a_job_in_quarantine_takes_no_blame_from_one_that_kills_at_once(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine, start_worker: Start
) -> None:
    """Each worker dies before the dead letter of the first has committed."""
    quarantined, killer = [await queue.enqueue(Work(name=name)) for name in ("quarantined", "die")]
    rescues = f"{queue.settings.prefix}:rescues"
    await queue.redis.set(f"{rescues}:{quarantined.job_id}", RESCUES_ALLOWED)
    rescuer = Claims(queue.connection, queue.settings)
    lane = queue_name(queue.settings, Lane.WARM)
    async with sql.begin() as connection:
        await connection.execute(text("LOCK TABLE stoker.dead_jobs IN ACCESS EXCLUSIVE MODE"))
        for _ in range(RESCUES_ALLOWED):
            victim = await start_worker(claim_life_s=str(LONG_S))
            async with asyncio.timeout(40):
                await victim.inner.wait()
            for job in (quarantined, killer):
                await queue.redis.zadd(f"{lane}:running", {job.job_id: 0}, xx=True)
            await rescuer.upkeep({Lane.WARM: []}, rescue=True)
    assert int(await queue.redis.get(f"{rescues}:{killer.job_id}")) == RESCUES_ALLOWED
    async with running(queue, queue_url, stage, sql):
        await settled(queue, Lane.WARM, dead=2, running=0)
    assert stage.runs == []


async def test_suspects_run_one_at_a_time_in_all_lanes_of_a_process(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    release = stage.hold("suspect")
    for job in (Work, Work, Elsewhere, Elsewhere):
        asked = await queue.enqueue(job(name="suspect"))
        await queue.redis.set(f"{queue.settings.prefix}:rescues:{asked.job_id}", SUSPECT_RESCUES)
    async with running(queue, queue_url, stage, sql):
        await queue.enqueue_many([Work(name="fence"), Elsewhere(name="fence")])
        await stage.until(lambda: len(stage.ended) == 2)  # both lanes have seen all their jobs
        assert stage.runs.count(("suspect", 1)) == 1
        release.set()
        await settled(queue, Lane.WARM, done=3)
        await settled(queue, Lane.REFRESH, done=3)
        assert not [key async for key in queue.redis.scan_iter(f"{queue.settings.prefix}:suspect:*")]


async def test_a_rescued_job_does_not_stand_behind_a_backlog(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine, start_worker: Start
) -> None:
    victim = await start_worker(claim_life_s="1.5", concurrency="1")
    await queue.enqueue(Work(name="hang"))
    await victim.says("hang 1")
    await queue.enqueue_many([Work(name=str(number)) for number in range(50)])
    await victim.ends_by(signal.SIGKILL)
    release = stage.hold("0")
    async with running(queue, queue_url, stage, sql, concurrency=1, claim_life_s=1.5):
        await settled(queue, Lane.WARM, rescued=1)
        release.set()
        await settled(queue, Lane.WARM, done=51)
    assert [name for name, _ in stage.runs[:3]] == ["0", "hang", "1"]


async def test_sigterm_gives_a_job_back_unharmed_and_exits_cleanly(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine, start_worker: Start
) -> None:
    victim = await start_worker()
    await queue.enqueue(Work(name="hang"))
    await victim.says("hang 1")
    assert await victim.ends_by(signal.SIGTERM) == 0
    await settled(queue, Lane.WARM, ready=1, running=0, failed=0, rescued=0)
    async with running(queue, queue_url, stage, sql):
        await settled(queue, Lane.WARM, done=1)
    assert stage.runs == [("hang", 1)]


async def test_a_job_that_blocks_its_workers_loop_past_its_lease_runs_once(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine, start_worker: Start
) -> None:
    victim = await start_worker(claim_life_s="1.5")
    await queue.enqueue_many([Elsewhere(name="slow"), Work(name="block")])
    await victim.says("block 1")
    async with running(queue, queue_url, stage, sql, claim_life_s=1.5):
        await queue.enqueue(Keyed(name="free"))
        await stage.until(lambda: ("free", 1) in stage.runs)  # others go on
        found = await settled(queue, Lane.WARM, running=0, ready=0, done=1)
        assert found.totals["rescued"] == 0
        assert (await settled(queue, Lane.REFRESH, done=2, running=0)).totals["rescued"] == 0
    assert stage.runs == [("free", 1)]


async def test_a_frozen_worker_loses_its_claims(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine, start_worker: Start
) -> None:
    victim = await start_worker(claim_life_s="1.5")
    await queue.enqueue(Work(name="hang"))
    await victim.says("hang 1")
    victim.inner.send_signal(signal.SIGSTOP)
    async with running(queue, queue_url, stage, sql, claim_life_s=1.5):
        await settled(queue, Lane.WARM, done=1, rescued=1, running=0)
    victim.inner.send_signal(signal.SIGCONT)
    assert stage.runs == [("hang", 1)]


async def test_an_older_release_parks_what_only_a_newer_one_knows_while_both_run(
    queue: Queue, sql: AsyncEngine, start_worker: Start
) -> None:
    # RACES 30, by two processes.
    await start_worker(without=Keyed.kind)
    first = await queue.enqueue(Keyed(name="first"))
    await settled(queue, Lane.REFRESH, parked=1, running=0)
    newer = await start_worker()
    assert await newer.says("first") == f"first 1 {first.job_id}\n"
    await queue.enqueue_many([Keyed(name=f"slow-{number}") for number in range(40)])
    await queue.enqueue_many([Elsewhere(name=str(number)) for number in range(40)])  # both know it
    found = await settled(queue, Lane.REFRESH, done=81, ready=0, running=0, deferred=0)
    assert found.totals["dead"] == 0
    assert await DeadLetters(sql).list(Which()) == []


async def test_two_hundred_long_jobs_elsewhere_do_not_keep_a_ready_job_from_starting(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine, start_worker: Start
) -> None:
    other = await start_worker(concurrency="200")
    await queue.enqueue_many([Work(name=f"hang-{number}") for number in range(200)])
    for _ in range(200):
        await other.says("hang")
    async with running(queue, queue_url, stage, sql):
        await queue.enqueue(Work(name="behind"))
        await settled(queue, Lane.WARM, done=1, running=200)
    assert stage.runs == [("behind", 1)]


async def test_lanes_come_back_after_the_queue_restarts_and_running_jobs_end_once(
    queue: Queue,
    queue_url: str,
    stage: Stage,
    sql: AsyncEngine,
    servers: embedded.Embedded,
    caplog: pytest.LogCaptureFixture,
) -> None:
    release = stage.hold("slow")
    async with running(queue, queue_url, stage, sql):
        await queue.enqueue(Work(name="slow"))
        await stage.until(lambda: bool(stage.runs))
        await asyncio.to_thread(servers.queue.stop)
        with pytest.raises(QueueUnavailable):
            await queue.ring()
        release.set()
        await stage.until(lambda: len(stage.ended) == 1)  # its end waits for Redis

        async def waits_its_longest() -> bool:
            return any(vars(record).get("crashes", 0) >= CRASHES_TO_LONGEST for record in caplog.records)

        await eventually(waits_its_longest)
        await asyncio.to_thread(servers.queue.start)
        await queue.enqueue(Work(name="next"))
        await stage.until(lambda: ("next", 1) in stage.runs)
        await settled(queue, Lane.WARM, done=2, running=0, ready=0, rescued=0)
    assert stage.runs == [("slow", 1), ("next", 1)]
    # By what each part waited, not by a clock: a busy machine is slow for other reasons.
    waited_s = [vars(record)["again_in_s"] for record in caplog.records if "again_in_s" in vars(record)]
    assert max(waited_s) + LONGEST_CONNECT_S < BACK_WITHIN_S - MARGIN_S


async def test_a_dead_letter_due_while_postgres_is_away_keeps_its_job_in_redis(
    queue: Queue, queue_url: str, stage: Stage, database_url: str, servers: embedded.Embedded
) -> None:
    # RACES 40.
    async def wrong(_: int) -> str:
        raise ValueError("wrong")

    stage.acts["wrong"] = wrong
    sql = create_async_engine(database_url, pool_pre_ping=True)
    await asyncio.to_thread(servers.postgres.stop)
    try:
        async with running(queue, queue_url, stage, sql, concurrency=1):
            asked = await queue.enqueue(Work(name="wrong"))
            await queue.enqueue(Work(name="behind"))
            await settled(queue, Lane.WARM, done=1, running=1, dead=0)  # its slot is free
            assert await queue.redis.exists(f"arq:job:{asked.job_id}")
            await asyncio.to_thread(servers.postgres.start)
            await settled(queue, Lane.WARM, dead=1, running=0)
        (letter,) = await DeadLetters(sql).list(Which())
        assert (letter.job_id, letter.reason) == (asked.job_id, "failed")
    finally:
        if not servers.postgres.running:
            await asyncio.to_thread(servers.postgres.start)
        await sql.dispose()


@pytest.mark.usefixtures("servers")  # never flush or fill a server of the environment
async def test_a_flushed_queue_harms_no_lane(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    release = stage.hold("slow")
    async with running(queue, queue_url, stage, sql):
        await queue.enqueue(Work(name="slow"))
        await stage.until(lambda: bool(stage.runs))
        await queue.redis.flushdb()
        await queue.redis.script_flush()
        release.set()
        await stage.until(lambda: len(stage.ended) == 1)
        await queue.enqueue(Work(name="next"))
        await settled(queue, Lane.WARM, done=1)


@pytest.mark.usefixtures("servers")  # never flush or fill a server of the environment
async def test_a_full_queue_takes_nothing_new_and_still_drains(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    await queue.enqueue_many([Work(name=str(number)) for number in range(50)])
    await queue.pause(Lane.WARM)
    await queue.redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(QueueUnavailable, match="full"):
            await queue.ring()
        async with running(queue, queue_url, stage, sql):
            await queue.resume(Lane.WARM)  # it is, though the bell cannot be rung
            await settled(queue, Lane.WARM, done=50, running=0)
    finally:
        await queue.redis.config_set("maxmemory", 0)


async def test_claims_outlive_an_outage_of_their_worker_only_if_nobody_rescued_them(
    queue: Queue, queue_url: str, stage: Stage, sql: AsyncEngine
) -> None:
    # A worker that froze: its job is rescued and run elsewhere; its own late end changes nothing.
    release = stage.hold("slow")
    elsewhere = Stage()
    async with running(queue, queue_url, stage, sql, concurrency=1) as frozen:
        await queue.enqueue(Work(name="slow"))
        await stage.until(lambda: bool(stage.runs))
        for task in asyncio.all_tasks():
            if task.get_name() == "upkeep":
                task.cancel()
        assert frozen.engine._renewal is not None
        await frozen.engine._renewal.stop()
        frozen.engine.set_concurrency(Lane.WARM, 0)
        async with running(queue, queue_url, elsewhere, sql):
            await elsewhere.until(lambda: elsewhere.runs == [("slow", 1)])
            await settled(queue, Lane.WARM, done=1, rescued=1)
            release.set()
            await stage.until(lambda: len(stage.ended) == 1)
        await eventually(lambda: _nothing_runs(queue))
        assert (await depth(queue))[Lane.WARM].totals["done"] == 1


async def _nothing_runs(queue: Queue) -> bool:
    return (await depth(queue))[Lane.WARM].running == 0
