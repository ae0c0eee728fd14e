"""Every declared metric is exported, nothing else is, and the documentation is the declaration."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import prometheus_client
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from stoker.domain import Domain
from stoker.errors import QueueUnavailable
from stoker.handlers import relay
from stoker.history.roster import Roster
from stoker.history.times import LIFE_MS, JobTimes, job_times
from stoker.jobs import Lane
from stoker.migrate import migrate
from stoker.outbox.record import InvalidationRequested
from stoker.rules import Invalidation
from stoker.settings import Settings, load_settings
from stoker.stoker import Stoker
from stoker.telemetry.declared import DECLARED
from stoker.telemetry.metrics import exposition, own_process
from stoker.worker.engine.meter import Load
from stoker.worker.forecaster import Forecaster
from stoker.worker.schedule.ledger import Ledger
from stoker.worker.schedule.runner import Schedule
from stoker.worker.schedule.tasks import tasks
from tests.library import SHELF, domain
from tests.support.place import Place

TABLE = Path(__file__).parents[2] / "docs" / "operations" / "metrics.md"
NOWHERE = "redis://127.0.0.1:1"


@pytest.fixture
def settings(place: Place) -> Settings:
    return place.settings()


@pytest.fixture
async def used(settings: Settings) -> AsyncIterator[Stoker]:
    """A Stoker in which everything that is counted has happened once."""
    assert settings.database_url is not None
    await migrate(settings.database_url.get_secret_value(), domain)
    async with Stoker.opened(settings, domain) as stoker:
        await _use(stoker, settings, domain)
        yield stoker


async def _use(stoker: Stoker, settings: Settings, library: Domain) -> None:
    async with stoker.session() as session, session.begin():
        await session.execute(text("INSERT INTO shelves (id, label) VALUES ('a', 'A')"))
    for _ in range(3):
        await stoker.read("label", "a")
    async with stoker.session() as session, session.begin():
        stoker.record(session, InvalidationRequested.of([Invalidation(SHELF.scope("a"))]))
    await relay.apply_all(stoker)
    await stoker.read("label", "a")
    await stoker.accounting.flush(stoker.cache.store.client, stoker.cache.store.keys)
    ledger = Ledger(stoker.engine, "test")
    await Schedule(
        tasks(settings.schedule, stoker.domain),
        ledger,
        stoker.enqueue,
        stoker.queue.is_open,
        settings.schedule,
    ).tick()
    load = {"warm": Load(slots=2, busy=0, busy_s=1.5, slot_s=10.0)}
    await Roster(stoker.engine, "test", "r", lambda: load, lambda _: None).report()
    await Forecaster(stoker, "test").once()
    worker = JobTimes()
    worker.job_started(Lane.WARM, "prune.v1", 0.02)
    worker.job_ended(Lane.WARM, "prune.v1", "done", 1.5)
    worker.loop_blocked("prune.v1", 1.2)
    await worker.tell(stoker.queue)
    assert library.views


def families(exposed: bytes) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(exposed.decode())}


def own(found: dict[str, Metric]) -> dict[str, Metric]:
    """Without what the client library adds by itself."""
    return {
        name: family
        for name, family in found.items()
        if not name.startswith("process_") and not name.endswith("_created")
    }


async def test_what_is_declared_is_what_is_exported(used: Stoker, settings: Settings) -> None:
    found = families(await exposition(used, settings))
    declared = {one.name: one for one in DECLARED}
    assert own(found).keys() == declared.keys()
    assert any(name.startswith("process_") for name in found)
    for name, one in declared.items():
        assert (found[name].type, found[name].documentation) == (one.kind, one.meaning)
        labels = {label for sample in found[name].samples for label in sample.labels}
        assert labels - {"le"} == set(one.labels), name


async def test_what_several_workers_saw_of_their_jobs_is_added_up(used: Stoker, settings: Settings) -> None:
    for waited_s, ran_s in ((0.02, 1.5), (0.004, 1.5), (5000, 0.5)):
        worker = JobTimes()
        worker.job_started(Lane.REFRESH, "refresh.v1", waited_s)
        worker.job_ended(Lane.REFRESH, "refresh.v1", "done", ran_s)
        worker.job_ended(Lane.REFRESH, "a name of somebody's own", "dead", 0)
        await worker.tell(used.queue)
        await worker.tell(used.queue)  # nothing new: nothing is added
    found = families(await exposition(used, settings))
    waits = of(found["stoker_job_wait_seconds"], lane="refresh")
    assert (waits["count"], waits["sum"], waits["0.005"], waits["0.025"], waits["900"], waits["+Inf"]) == (
        *(3, 5000.024, 1, 2, 2, 3),
    )
    runs = of(found["stoker_job_run_seconds"], lane="refresh", kind="refresh.v1", outcome="done")
    assert (runs["count"], runs["sum"], runs["0.5"], runs["2.5"]) == (3, 3.5, 1, 3)
    kinds = {sample.labels["kind"] for sample in found["stoker_job_run_seconds"].samples}
    assert kinds == {"refresh.v1", "prune.v1", "other"}
    assert 0 < await used.queue.redis.pttl(f"{settings.queue.prefix}:observed") <= LIFE_MS


def of(family: Metric, **labels: str) -> dict[str, float]:
    """A histogram's samples: by bound, and its sum and count."""
    return {
        sample.labels.get("le", sample.name.rpartition("_")[2]): sample.value
        for sample in family.samples
        if {name: value for name, value in sample.labels.items() if name != "le"} == labels
    }


async def test_what_could_not_be_told_is_told_later(settings: Settings) -> None:
    away = settings.model_copy(update={"redis_url": load_settings(redis_url=NOWHERE).redis_url})
    worker, stop = JobTimes(), asyncio.Event()
    worker.job_started(Lane.WARM, "warm.v1", 0.02)
    stop.set()
    async with Stoker.opened(away, domain) as stoker:
        with pytest.raises(QueueUnavailable):
            await worker.tell(stoker.queue)
    async with Stoker.opened(settings, domain) as stoker:
        await worker.tell(stoker.queue)
        waits = (await job_times(stoker.queue)).waits
    assert sum(waits[("warm",)].buckets.values()) == 1


async def test_the_last_jobs_of_a_worker_are_told_when_it_stops(settings: Settings) -> None:
    worker, stop = JobTimes(), asyncio.Event()
    async with Stoker.opened(settings, domain) as stoker:
        telling = asyncio.create_task(worker.run(stoker.queue, stop))
        worker.job_started(Lane.WARM, "warm.v1", 0.02)
        await asyncio.sleep(0)  # it waits by now
        stop.set()
        await telling
        waits = (await job_times(stoker.queue)).waits
    assert sum(waits[("warm",)].buckets.values()) == 1


async def test_a_change_and_a_build_are_observed_where_every_process_can_see_it(
    used: Stoker, settings: Settings
) -> None:
    found = families(await exposition(used, settings))
    applied = {sample.name: sample.value for sample in found["stoker_change_applied_seconds"].samples}
    assert applied["stoker_change_applied_seconds_count"] == 1
    assert 0 < applied["stoker_change_applied_seconds_sum"] < 10
    builds = [
        sample
        for sample in found["stoker_cache_build_seconds"].samples
        if sample.labels["view"] == "label" and sample.name.endswith("_bucket")
    ]
    heights = [sample.value for sample in builds]
    assert heights == sorted(heights), "Prometheus' buckets hold what lies below them"
    assert (builds[-1].labels["le"], builds[-1].value) == ("+Inf", 2)


@pytest.mark.usefixtures("used")
async def test_a_server_that_is_away_leaves_its_figures_out(settings: Settings) -> None:
    away = settings.model_copy(update={"redis_url": load_settings(redis_url=NOWHERE).redis_url})
    async with Stoker.opened(away, domain) as stoker:
        found = families(await exposition(stoker, away))
    up = {sample.labels["server"]: sample.value for sample in found["stoker_server_up"].samples}
    assert up == {"database": 1, "queue": 0, "cache": 1}
    in_postgres = {sample.labels["state"] for sample in found["stoker_lane_jobs"].samples}
    assert in_postgres == {"dead"}
    assert "stoker_events_unsettled" in found


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
async def test_promtool_has_nothing_to_say_against_the_names(used: Stoker, settings: Settings) -> None:
    for exposed in (await exposition(used, settings), generate_latest(own_process())):
        ran = subprocess.run(  # noqa: ASYNC221 - a moment
            ["promtool", "check", "metrics"],  # noqa: S607 - found above
            input=exposed,
            capture_output=True,
            check=False,
        )
        assert (ran.returncode, ran.stderr) == (0, b"")


async def test_a_web_app_exports_its_own_state_with_the_documented_code(
    used: Stoker, monkeypatch: pytest.MonkeyPatch
) -> None:
    await used.read("label", "a")  # a hit: it is kept near from now on
    registry = CollectorRegistry()
    monkeypatch.setattr(prometheus_client, "REGISTRY", registry)
    (block,) = re.findall(r"```python\n(.*?)```", TABLE.read_text(), re.DOTALL)
    code: dict[str, Any] = {}
    exec(block, code)  # noqa: S102 - our own page
    code["export"](used)
    found = families(generate_latest(registry))
    assert found.keys() == {
        "stoker_breaker_open",
        "stoker_near_bytes",
        "stoker_loads_running",
        "stoker_postgres_silent",
    }
    assert found["stoker_near_bytes"].samples[0].value > 0


def documented() -> str:
    rows = ["| metric | type | labels | meaning |", "| --- | --- | --- | --- |"]
    for one in DECLARED:
        name = one.name + ("_total" if one.kind == "counter" else "")
        labels = ", ".join(one.labels) or "-"
        rows.append(f"| `{name}` | {one.kind} | {labels} | {one.meaning} |")
    return "\n".join(rows)


def test_the_documented_table_is_the_declaration() -> None:
    found = re.search(r"^\| metric .*?(?=\n\n|\Z)", TABLE.read_text().rstrip(), re.DOTALL | re.MULTILINE)
    assert found is not None
    assert found[0] == documented()
