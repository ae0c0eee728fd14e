"""docs/operations: metrics, alerts, dashboard and runbook fit what is exported and logged."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from stoker.chaos.keys import declared
from stoker.jobs import LANES
from stoker.settings import Settings
from stoker.telemetry.declared import DECLARED, Kind
from tests.support.operations import (
    DASHBOARD,
    KUBERNETES,
    METRIC,
    OPERATIONS,
    PAGES,
    PROCESS,
    ROOT,
    SECTIONS,
    needs,
    rules,
    run,
    settings_of,
)


def exported() -> set[str]:
    """Names of samples; that DECLARED is what is exported is tested where metrics are."""
    names = set(PROCESS)
    for one in DECLARED:
        if one.kind is Kind.HISTOGRAM:
            names |= {f"{one.name}_{part}" for part in ("bucket", "sum", "count")}
        else:
            names.add(one.name + ("_total" if one.kind is Kind.COUNTER else ""))
    return names


def expressions() -> list[tuple[str, str]]:
    found = [(rule["alert"], rule["expr"]) for rule in rules()]
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        found += [(panel["title"], target["expr"]) for target in panel.get("targets", [])]
    for path in KUBERNETES:
        found += [(path.name, query) for query in re.findall(r"query: (.*)", path.read_text())]
    return found


@pytest.mark.parametrize("expression", sorted({expression for _, expression in expressions()}))
def test_every_metric_that_is_asked_for_is_exported(expression: str) -> None:
    used = set(METRIC.findall(re.sub(r'"[^"]*"', '""', expression)))
    assert used <= exported(), used - exported()
    labels = set(re.findall(r"([a-z_]+)\s*(?:=~|!=|=)\s*\"", expression))
    declared = {label for one in DECLARED for label in one.labels}
    assert labels <= declared | {"job", "le", "instance"}, labels


def test_every_metric_of_the_installation_is_on_the_dashboard_or_in_an_alert() -> None:
    asked = {name for _, expression in expressions() for name in METRIC.findall(expression)}
    unused = {one.name for one in DECLARED if not any(name.startswith(one.name) for name in asked)}
    assert unused == {"stoker_verified_stale_age_seconds"}


def test_every_alert_has_its_page_and_every_page_its_alert() -> None:
    alerts = {rule["alert"] for rule in rules()}
    assert {path.stem for path in PAGES[1:]} == alerts
    for rule in rules():
        assert (ROOT / rule["annotations"]["runbook"]).stem == rule["alert"]
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"]


@pytest.mark.parametrize("page", PAGES[1:], ids=lambda page: page.stem)
def test_a_page_says_what_it_means_what_to_check_and_what_to_do(page: Path) -> None:
    written = page.read_text()
    assert written.startswith(f"# {page.stem}\n")
    assert re.findall(r"^## (.*)$", written, re.MULTILINE) == SECTIONS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_setting_and_every_log_line_that_is_named_exists(page: Path) -> None:
    tables = "worker|cache|queue|changes|loaders|database|lanes|schedule|api|watch|log"
    for name in re.findall(rf"`((?:{tables})\.[a-z_.]+)`", page.read_text()):
        assert settings_of(Settings, name.split(".")) or logged(name), name
    for name in re.findall(r"`((?:event|ring|sweeper|engine|fill)\.[a-z_]+)`", page.read_text()):
        assert logged(name), name


def logged(name: str) -> bool:
    return f'"{name}"' in SOURCES


SOURCES = "".join(path.read_text() for path in (ROOT / "stoker").rglob("*.py"))


@needs("promtool")
def test_prometheus_takes_the_rules_and_they_fire_as_they_should() -> None:
    run("promtool", "check", "rules", "alerts.yml")
    run("promtool", "test", "rules", "alerts_test.yml", "alerts_days_test.yml")
    run("promtool", "check", "config", "--syntax-only", "prometheus.yml")


def test_the_dashboard_has_no_two_panels_in_one_place() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def test_scrapes_carry_the_names_that_rules_ask_for() -> None:
    jobs = {
        job["job_name"]
        for job in yaml.safe_load((OPERATIONS / "prometheus.yml").read_text())["scrape_configs"]
    }
    asked = {name for _, text in expressions() for name in re.findall(r'job="([^"]+)"', text)}
    assert jobs == {"stoker-api", "stoker-worker"}
    assert asked == {"stoker-api"}, "a worker need not be scraped"


def test_every_key_of_the_queue_that_stays_is_in_the_table() -> None:
    told = set(re.findall(r"^\| `(stoker:[^`]*)`", (OPERATIONS / "README.md").read_text(), re.MULTILINE))
    staying = {
        re.sub(rf":({'|'.join(LANES)})(?=:|$)", ":LANE", key)
        for key in declared("stoker")
        if ":chaos:" not in key
    }
    assert told - {"stoker:observed", "stoker:rate:*"} == staying
    source = "".join(path.read_text() for path in (ROOT / "stoker").rglob("*.lua"))
    assert "':observed'" in source
    assert "':rate:'" in source
