"""Chaos for twenty seconds, and proof that its checks can fail: each guard taken away is noticed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest

from stoker.chaos import lanes, recovery
from stoker.chaos.faults import KINDS, plan
from stoker.chaos.faults.kind import BACK_S, RESCUED_S
from stoker.chaos.faults.plan import CLAIM_S
from stoker.chaos.options import TOPOLOGIES
from tests.support.pgbouncer import skip_without_pgbouncer

ROOT = Path(__file__).parents[2]
OF_A_PAIR = ("primary_kill", "primary_restart", "primary_freeze", "failover")
LONGEST_S = 240
ROOM_S = 5.0
A_FEW = ("kill_worker", "kill_webapp", "queue_restart_empty", "queue_full", "cache_restart", "cache_full")


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("STOKER_")}
    return subprocess.run(  # noqa: S603 - our own program
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        check=False,
    )


def perform(
    tmp_path: Path,
    launcher: str = "stoker.chaos.process",
    **options: Any,  # noqa: ANN401 - of ChaosOptions
) -> tuple[int, dict[str, Any]]:
    """A small run; its exit code and its report."""
    report = tmp_path / "chaos.json"
    given: dict[str, Any] = {
        "faults": (),
        "mischief": (),
        "seconds": 3,
        "webapps": 1,
        "rate": 60,
        "room_s": LONGEST_S,
        "workload": "tests.chaos.library:workload",
        "seed": 5,
    }
    given |= {"json": str(report), "data_dir": str(tmp_path), "launcher": launcher, **options}
    done = call("-m", "tests.chaos.perform", json.dumps(given))
    assert report.exists(), done.stderr
    facts: dict[str, Any] = json.loads(report.read_text())
    return done.returncode, facts


def test_nothing_is_lost_and_nothing_stale_in_twenty_seconds_of_chaos(tmp_path: Path) -> None:
    report = tmp_path / "chaos.json"
    done = call(
        *("-m", "stoker", "chaos", "--workload", "worker.demo.workload", "--seconds", "20", "--seed", "20"),
        *("--json", str(report), "--data", str(tmp_path), "--room", str(LONGEST_S)),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    facts = json.loads(report.read_text())
    jobs = facts["jobs"]
    assert facts["failures"] == []
    assert facts["lost"] == 0
    assert facts["events"]["recorded"] == facts["events"]["settled"]
    assert facts["reads"]["stale"] == 0
    assert jobs["enqueued"] == sum(jobs[name] for name in jobs.keys() - {"enqueued", "lost"})
    assert facts["requests"]["effects"] >= facts["requests"]["committed"] > 0
    assert facts["rescues"]["count"] > 0, "of the worker that was killed first, while it ran a long job"
    # How much there was of each depends on the machine; that there was some proves the rest.
    reads, entries = facts["reads"], facts["entries"]
    assert all((facts["faults_injected"], facts["revocations"], facts["events"]["recorded"]))
    assert all((reads["of_changed"], reads["left"], reads["refused"], entries["compared"], jobs["enqueued"]))
    assert "lost      0\neverything held\n" in done.stdout


@pytest.mark.long
def test_another_domain_is_put_under_chaos_by_a_workload_of_its_own(tmp_path: Path) -> None:
    code, facts = perform(
        tmp_path,
        faults=A_FEW,
        mischief=("task", "task_raises", "task_swallows_cancellation"),
        seconds=10,
    )
    assert (code, facts["failures"]) == (0, [])
    assert facts["faults_injected"] >= 4
    assert facts["reads"]["of_changed"] >= 100


@pytest.mark.long
def test_behind_a_pooler_that_breaks_too_everything_holds(tmp_path: Path) -> None:
    skip_without_pgbouncer()
    code, facts = perform(
        tmp_path,
        topology="pgbouncer",
        faults=("pooler_restart", "pooler_freeze", "postgres_kill", "postgres_torn", "kill_worker"),
        workload="worker.demo.workload:workload",
        seconds=20,
        webapps=2,
    )
    assert (code, facts["failures"]) == (0, [])
    assert facts["faults"].keys() >= {"pooler_restart", "pooler_freeze"}


@pytest.mark.long
def test_with_a_cluster_as_the_cache_whose_nodes_break_everything_holds(tmp_path: Path) -> None:
    code, facts = perform(
        tmp_path,
        topology="cluster",
        faults=("node_kill", "node_freeze", "node_failover", "queue_restart", "kill_worker"),
        workload="worker.demo.workload:workload",
        seconds=20,
        webapps=2,
    )
    assert (code, facts["failures"]) == (0, [])
    assert facts["faults"].keys() >= {"node_kill", "node_freeze", "node_failover"}
    assert facts["entries"]["compared"] > 0


@pytest.mark.long
def test_with_queue_and_cache_behind_sentinels_that_fail_over_everything_holds(tmp_path: Path) -> None:
    code, facts = perform(
        tmp_path,
        topology="sentinel",
        faults=(
            *("cache_primary_kill", "cache_failover", "cache_primary_freeze", "sentinel_kill"),
            *("queue_primary_kill", "queue_failover", "queue_primary_restart", "kill_worker"),
        ),
        workload="worker.demo.workload:workload",
        seconds=30,
        webapps=2,
    )
    assert (code, facts["failures"]) == (0, [])
    assert facts["faults"].keys() >= {"cache_primary_kill", "queue_primary_kill"}
    assert facts["requests"]["effects"] >= facts["requests"]["committed"] > 0
    assert facts["entries"]["compared"] > 0


def test_each_fault_is_of_a_topology_that_has_its_target() -> None:
    """A cache that is a cluster is no single server, and its nodes are reached without links."""
    of = {name: {kind.name for kind in KINDS if name in kind.topologies} for name in TOPOLOGIES}
    assert of["pgbouncer"] - of["single"] == {"pooler_restart", "pooler_freeze"}
    assert of["cluster"] - of["single"] == {"node_kill", "node_freeze", "node_failover"}
    assert {name.partition("_")[0] for name in of["single"] - of["cluster"]} == {"cache"}
    assert not any(name.startswith("cache_") for name in of["cluster"])
    of_pairs = {f"{role}_{what}" for role in ("queue", "cache") for what in OF_A_PAIR}
    assert of["sentinel"] - of["single"] == {*of_pairs, "sentinel_kill"}


@pytest.mark.long
def test_with_terms_everything_holds(tmp_path: Path) -> None:
    code, facts = perform(tmp_path, term_ms=100, faults=A_FEW, seconds=10)
    assert (code, facts["failures"], facts["term_ms"]) == (0, [], 100)
    assert facts["reads"]["of_changed"] >= 100


@pytest.mark.long
def test_without_the_wait_for_a_term_it_fails(tmp_path: Path) -> None:
    """So the web apps do serve within terms what a change has made outdated."""
    code, facts = perform(tmp_path, "tests.chaos.without_term_wait", term_ms=1000)
    assert code == 1
    assert facts["reads"]["stale"] > 0


@pytest.mark.long
def test_without_the_comparison_of_stamps_it_fails(tmp_path: Path) -> None:
    code, facts = perform(tmp_path, "tests.chaos.without_stamps")
    assert code == 1
    assert facts["reads"]["stale"] > 0
    assert facts["entries"]["shown_stale"] > 0


@pytest.mark.long
def test_without_the_check_of_access_it_fails(tmp_path: Path) -> None:
    code, facts = perform(
        tmp_path, "tests.chaos.without_access", workload="worker.demo.workload:workload", seconds=6
    )
    assert code == 1
    assert any(failure.startswith("forbidden read") for failure in facts["failures"])


@pytest.mark.long
def test_without_the_sweeper_it_fails(tmp_path: Path) -> None:
    code, facts = perform(tmp_path, "tests.chaos.without_sweeper", rest_s=4)
    assert code == 1
    assert any("committed events are not applied" in failure for failure in facts["failures"])


@pytest.mark.long
def test_without_the_renewal_of_claims_it_fails(tmp_path: Path) -> None:
    code, facts = perform(
        tmp_path,
        "tests.chaos.without_renewal",
        seconds=9,
        rate=10,
        mischief=("task_outlasts_its_claim",),
        rest_s=2,
    )
    assert code == 1
    assert any("claims were lost without a fault" in failure for failure in facts["failures"])


@pytest.mark.long
def test_requests_of_an_erased_queue_have_their_effects(tmp_path: Path) -> None:
    code, facts = perform(tmp_path, faults=("queue_flush", "queue_restart_empty"), seconds=8)
    assert (code, facts["failures"]) == (0, [])
    assert facts["requests"]["effects"] >= facts["requests"]["committed"] > 0


@pytest.mark.long
def test_without_redelivery_it_fails(tmp_path: Path) -> None:
    code, facts = perform(
        tmp_path, "tests.chaos.without_redelivery", faults=("queue_flush",), seconds=6, rest_s=6
    )
    assert code == 1
    assert any("committed requests had no effect" in failure for failure in facts["failures"])


@pytest.mark.long
def test_without_rescues_it_fails(tmp_path: Path) -> None:
    code, facts = perform(
        tmp_path, "tests.chaos.without_rescues", faults=("kill_worker",), seconds=16, rest_s=3, room_s=0
    )
    assert code == 1
    assert any("were never rescued" in failure for failure in facts["failures"])


def test_without_a_workload_it_says_what_to_name(tmp_path: Path) -> None:
    done = call("-m", "stoker", "chaos", "--data", str(tmp_path))
    assert done.returncode == 1
    assert "--workload module:name" in done.stderr


def test_a_recovery_that_takes_longer_than_promised_fails_the_run() -> None:
    allowed_s = recovery.limits(ROOM_S)
    assert allowed_s["queue_restart"] < allowed_s["kill_worker"], "a rescue may take longer than a return"
    assert recovery.late(allowed_s, ROOM_S) == []
    [told] = recovery.late({"queue_restart": allowed_s["queue_restart"] + 1, "kill_worker": 1}, ROOM_S)
    assert told.startswith("recovery from queue_restart took")


def test_lanes_that_come_back_later_than_promised_fail_the_run() -> None:
    may_s = BACK_S + ROOM_S
    assert lanes.late([("queue_restart", may_s)], ROOM_S) == []
    [told] = lanes.late([("queue_restart", may_s + 0.1), ("queue_flush", 0.2)], ROOM_S)
    assert told.startswith("after queue_restart a job was done only")


@pytest.mark.parametrize("seconds", [20, 120])
def test_the_same_seed_plans_the_same_faults(seconds: float) -> None:
    first, second = (list(plan(KINDS, Random(7), seconds, 1.2)) for _ in range(2))
    assert first == second
    assert first != list(plan(KINDS, Random(8), seconds, 1.2))


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("seed", range(20))
def test_a_killed_workers_jobs_can_be_rescued_before_the_queue_or_a_worker_is_struck(
    seed: int, topology: str
) -> None:
    kinds = [kind for kind in KINDS if topology in kind.topologies]
    planned = [one for one in plan(kinds, Random(seed), 150, 1.2) if one.kind.target in {"queue", "worker"}]
    kills = [one for one in planned if one.kind.name == "kill_worker"]
    assert len(kills) >= 2
    for one, following in pairwise(planned):
        assert following.at_s >= one.at_s + one.lasts_s + one.kind.calm_s
        if following in kills:
            assert following.at_s >= one.at_s + one.lasts_s + CLAIM_S, "its jobs were claimed in calm"
    assert all(one.kind.calm_s == RESCUED_S for one in kills)


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_every_kind_of_fault_is_planned_in_two_minutes(topology: str) -> None:
    kinds = [kind for kind in KINDS if topology in kind.topologies]
    for seed in range(20):
        planned = {one.kind.name for one in plan(kinds, Random(seed), 120, 1.2)}
        assert planned == {kind.name for kind in kinds}
