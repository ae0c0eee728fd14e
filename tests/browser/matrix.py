"""The outage matrix: what is broken, what is true then, and what is said of it.

A statement is checked against the truth both ways: what is broken must be said, and what works must not be
called broken, unknown or zero.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.support.operations import ALERTS, OPERATIONS, run

NAMES = {"database": "Postgres", "queue": "queue Redis", "cache": "cache Redis"}
UNKNOWN = "\N{EN DASH}"
BROKEN = r"does not answer|gave no answer|did not answer"
DOWN = frozenset({"StokerServerDown"})
OF_SERVER = {
    "database": ("stoker_events_unsettled", "stoker_workers"),
    "queue": ("stoker_lane_paused",),
    "cache": ("stoker_cache_reads_total",),
}
"""A metric that needs the server: left out while it is away, and there otherwise."""
ROWS = {
    "Applied in the last minute": ("database",),
    "Workers": ("database",),
    "Requested, not in the queue": ("database",),
    "Oldest ready job": ("queue",),
    "Jobs a minute": ("database", "queue"),
    "Failed a minute": ("database", "queue"),
    "Reads": ("database", "cache"),
    "Compared with SQL": ("cache",),
}
"""Figures of the console's cards, and the servers without which they are not known."""


@dataclass(frozen=True)
class Truth:
    """What is the case."""

    down: frozenset[str] = frozenset()
    slow: frozenset[str] = frozenset()
    worker: bool = True
    full: bool = False
    """The memory of the cache, which evicts nothing."""
    failed: int = 0
    """Reads of `detail` that failed in the last minutes."""
    alerts: frozenset[str] = frozenset()
    """Those that fire when it lasts for ten minutes."""


@dataclass
class Shown:
    """What an operator is shown."""

    page: str = ""
    rows: dict[str, str] = field(default_factory=dict)
    status: str = ""
    metrics: tuple[str, str] = ("", "")
    """Two scrapes."""


def is_as_expected(truth: Truth, states: Mapping[str, str]) -> bool:
    """Whether each server is in the state that it must be in; `states` by their names in NAMES.

    A server that works may take long to answer on a loaded machine, and is then called slow, which is true:
    such a picture is taken again.
    """
    return states.keys() == NAMES.keys() and all(
        state in _allowed(truth, server) for server, state in states.items()
    )


def _allowed(truth: Truth, server: str) -> tuple[str, ...]:
    if server in truth.slow:  # a probe that takes very long is given up
        return "slow", "down"
    return ("down",) if server in truth.down else ("ok",)


def up_of(scrape: str) -> Mapping[str, str]:
    """Which servers a scrape calls up: `ok`, else `down`."""
    families = {one.name: one for one in text_string_to_metric_families(scrape)}
    found = families["stoker_server_up"].samples
    return {sample.labels["server"]: "ok" if sample.value else "down" for sample in found}


def check(truth: Truth, shown: Shown) -> None:
    """Compare every statement with the truth."""
    for said in filter(None, (shown.page, shown.status)):
        check_text(truth, said)
    for name, value in shown.rows.items():
        if not truth.slow & set(ROWS[name]):
            unknown = any(server in truth.down for server in ROWS[name])
            assert (value == UNKNOWN) == unknown, (name, value)
    if "Workers" in shown.rows and "database" not in truth.down | truth.slow:
        assert shown.rows["Workers"].startswith("1 reporting" if truth.worker else "none reporting")
    check_metrics(truth, shown.metrics[1])
    fired = firing(*shown.metrics)
    # The probe of a slow server may take longer than the API waits for it.
    assert fired - (DOWN if truth.slow else frozenset()) == truth.alerts, sorted(fired)


def check_text(truth: Truth, said: str) -> None:
    """What is said in words, on the page and in the terminal."""
    for server, name in NAMES.items():
        blamed = re.search(rf"{name}(?: \(\S+\))? (?:{BROKEN})", said) is not None
        slow = re.search(rf"{name}(?: \(\S+\))? is slow", said) is not None
        if server in truth.slow:
            # A new connection takes several answers: "gave no answer within 0.8 s" is true, too.
            assert slow or re.search(rf"{name}(?: \(\S+\))? gave no answer within 0.8 s", said), said
        else:
            assert (blamed, slow) == (server in truth.down, False), f"{name}: {said}"
    if "database" not in truth.down | truth.slow:
        assert ("no worker reports" in said.lower()) == (not truth.worker), said
        failed = re.search(r"of ([\d,]+) reads of detail failed", said)
        assert (failed is not None) == bool(truth.failed), said
    elif "database" in truth.down:
        assert "worker reports" not in said, said
    assert ("used all of its memory" in said) == truth.full, said
    assert "Something is" not in said


def check_metrics(truth: Truth, scrape: str) -> None:
    """What a scrape has, and what it leaves out."""
    families = {one.name: one for one in text_string_to_metric_families(scrape)}
    samples = {sample.name for one in families.values() for sample in one.samples}
    up = {sample.labels["server"]: sample.value for sample in families["stoker_server_up"].samples}
    for server, names in OF_SERVER.items():
        if server in truth.slow:
            continue
        assert up[server] == float(server not in truth.down), server
        for name in names:
            assert (name in samples) == (server not in truth.down), name
    if "database" not in truth.down | truth.slow:
        [workers] = families["stoker_workers"].samples
        assert workers.value == float(truth.worker)


def firing(before: str, after: str) -> frozenset[str]:
    """The alerts that fire when each minute for ten is as between the two scrapes, by Prometheus itself."""
    old = _samples(before)
    series = [{"series": 'up{job="stoker-api"}', "values": "1x20"}]
    for name, value in _samples(after).items():
        grown = max(0.0, value - old.get(name, value)) if _is_counter(name) else 0.0
        series.append({"series": name, "values": f"{value}+{grown}x20" if grown else f"{value}x20"})
    told = {
        "rule_files": [str(ALERTS)],
        "evaluation_interval": "15s",
        "tests": [
            {
                "interval": "1m",
                "input_series": series,
                "promql_expr_test": [
                    {
                        "expr": 'group by (alertname) (ALERTS{alertstate="firing"})',
                        "eval_time": "10m",
                        "exp_samples": [{"labels": '{alertname="nothing"}', "value": 1}],
                    }
                ],
            }
        ],
    }
    path = OPERATIONS / f".matrix_{os.getpid()}_test.yml"  # tests run side by side
    try:
        path.write_text(yaml.safe_dump(told))
        said = _refused(path)
    finally:
        path.unlink(missing_ok=True)
    got = said.partition("got:")[2]
    return frozenset(re.findall(r'alertname="(\w+)"', got))


def _refused(path: Path) -> str:
    """What promtool says of a test whose expectation cannot come true: which alerts fire."""
    try:
        run("promtool", "test", "rules", path.name)
    except AssertionError as error:
        return str(error)
    raise AssertionError("an alert named nothing fires")


def _samples(scrape: str) -> Mapping[str, float]:
    found = {}
    for family in text_string_to_metric_families(scrape):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sample.labels.items())
            if sample.name.startswith("stoker_"):
                found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


def _is_counter(name: str) -> bool:
    return name.partition("{")[0].endswith(("_total", "_count", "_bucket", "_sum"))
