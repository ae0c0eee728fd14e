"""Reading docs/operations: what is named there, for the tests that ask whether it exists."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
OPERATIONS = ROOT / "docs" / "operations"
ALERTS, DASHBOARD = OPERATIONS / "alerts.yml", OPERATIONS / "grafana.json"
UNITS = sorted((OPERATIONS / "systemd").glob("*.service"))
KUBERNETES = sorted((OPERATIONS / "kubernetes").glob("*.yaml"))
COMPOSE = OPERATIONS / "docker" / "compose.yaml"
DOCKERFILE = OPERATIONS / "docker" / "Dockerfile"
PAGES = [OPERATIONS / "README.md", *sorted((OPERATIONS / "runbook").glob("*.md"))]
SECTIONS = ["What it means", "What to check", "What to do"]
METRIC = re.compile(r"\b(?:stoker|process)_[a-z_]+")
PROCESS = {"process_cpu_seconds_total", "process_resident_memory_bytes"}


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


def run(*command: str, where: Path = OPERATIONS) -> str:
    ran = subprocess.run(command, cwd=where, capture_output=True, text=True, check=False)  # noqa: S603 - our own
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


def documents(path: Path) -> list[Any]:
    return [one for one in yaml.safe_load_all(path.read_text()) if one is not None]


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def pods() -> Iterator[tuple[str, Any]]:
    """Every pod that the manifests make: the name of its owner and its spec."""
    for path in KUBERNETES:
        for one in documents(path):
            if one["kind"] in ("Deployment", "Job"):
                yield one["metadata"]["name"], one["spec"]["template"]["spec"]


def settings_of(model: Any, path: list[str]) -> bool:  # noqa: ANN401 - a pydantic model's class
    """Whether a settings class has a field of this path."""
    fields = getattr(model, "model_fields", {})
    return path[0] in fields and (len(path) == 1 or settings_of(fields[path[0]].annotation, path[1:]))
