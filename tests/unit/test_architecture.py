"""The layout, asserted: one direction, no cycles, a domain named only where it lives."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import stoker

ROOT = Path(__file__).parents[2]

LEVELS: tuple[frozenset[str], ...] = (
    frozenset({"stoker.errors", "stoker.on_first_use"}),
    frozenset(
        {
            "stoker.closing",
            "stoker.histogram",
            "stoker.loop",
            "stoker.loop_thread",
            "stoker.numbers",
            "stoker.process_name",
            "stoker.tracing",
        }
    ),
    frozenset({"stoker.prediction"}),
    frozenset({"stoker.jobs"}),
    frozenset({"stoker.settings"}),
    frozenset({"stoker.silence"}),
    frozenset({"stoker.driver"}),
    frozenset({"stoker.postgres", "stoker.schema", "stoker.tables", "stoker.redis"}),
    frozenset({"stoker.cache"}),
    frozenset({"stoker.schedule"}),
    frozenset({"stoker.arq", "stoker.handled", "stoker.rules", "stoker.warm_plans"}),
    frozenset({"stoker.captures"}),
    frozenset({"stoker.domain"}),
    frozenset({"stoker.queue", "stoker.outbox"}),
    frozenset({"stoker.parts"}),
    frozenset({"stoker.revocation", "stoker.job_calls"}),
    frozenset({"stoker.stoker"}),
    frozenset({"stoker.sync"}),
    frozenset({"stoker.http"}),
    frozenset({"stoker.warming"}),
    frozenset({"stoker.coverage", "stoker.handlers"}),
    frozenset({"stoker.worker.engine", "stoker.embedded", "stoker.worker.schedule"}),
    frozenset({"stoker.history"}),
    frozenset({"stoker.operations"}),
    frozenset({"stoker.telemetry"}),
    frozenset({"stoker.console"}),
    frozenset({"stoker.api"}),
)
"""Low to high; whatever of the library is not named here is above all of it."""
WEB = (
    "cache",
    "captures",
    "closing",
    "domain",
    "handled",
    "rules",
    "warm_plans",
    "schema",
    "schedule",
    "driver",
    "errors",
    "histogram",
    "job_calls",
    "jobs",
    "loop",
    "loop_thread",
    "numbers",
    "on_first_use",
    "outbox",
    "parts",
    "postgres",
    "process_name",
    "queue",
    "redis",
    "revocation",
    "settings",
    "silence",
    "stoker",
    "sync",
    "tables",
    "tracing",
)
"""What a web process imports."""

PUBLIC_NAMES = frozenset(
    """
    Access Answer Applied Asked BadRequest Batch CacheUnavailable Capture CommittedNotApplied
    Cron DatabaseUnavailable DeclarationError Domain Enqueued EntryKey Event Every Forbidden InvalidParams
    InvalidResult Invalidate Invalidation Job JobContext JobFailed KeepWarm Lane LatePolicy MAINTENANCE
    NoResult NotFound Outcome OverlapPolicy Prune QueueUnavailable Reading Receipt Refresh Relay RetryPolicy
    Rule SYSTEM SampleData Scope ScopeKind Settings SettingsError State Stoker StokerError SyncStoker
    TransactionReceipt Unavailable UnknownJob Verify View Warm WarmPlan Within WrongServer load_domain
    load_settings
    """.split()  # noqa: SIM905 - reads better than sixty quoted lines
)


def sources(*packages: str) -> list[Path]:
    return sorted(path for package in packages for path in (ROOT / package).rglob("*.py"))


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[str]:
    """Modules that a file imports, as `package.module` or `package.module.name`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                # `from package import module` depends on the module, not on all of its package.
                name = f"{node.module}.{alias.name}"
                yield name if is_module(name) else node.module
                yield name


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def level_of(module: str) -> int | None:
    """The level of a module; None for the worker's upper rooms and for `jobs` itself."""
    for level, packages in enumerate(LEVELS):
        if any(within(module, package) for package in packages):
            return level
    return None


def test_imports_go_one_way() -> None:
    wrong = []
    for path in sources("stoker"):
        own = level_of(module_of(path))
        for imported in imports(path):
            other = level_of(imported)
            if own is not None and other is not None and other > own:
                wrong.append(f"{module_of(path)} imports {imported}")
            if own is not None and other is None and is_module(imported) and imported != "stoker":
                wrong.append(f"{module_of(path)} imports {imported}")
    assert not wrong, "\n".join(wrong)


def test_operations_know_nothing_of_who_asks() -> None:
    frameworks = ("fastapi", "starlette", "typer", "rich")
    wrong = [
        f"{module_of(path)} imports {imported}"
        for path in sources("stoker/operations")
        for imported in imports(path)
        if any(within(imported, framework) for framework in frameworks)
    ]
    assert not wrong, "\n".join(wrong)


def test_the_command_line_and_the_api_share_operations_and_nothing_of_each_other() -> None:
    serves = "stoker.cli.web"
    found = {
        module_of(path)
        for path in sources("stoker/cli")
        for imported in imports(path)
        if any(within(imported, web) for web in ("stoker.api", "fastapi", "starlette"))
    }
    assert found == {serves}


def test_no_module_is_in_a_cycle() -> None:
    modules = {module_of(path): path for path in sources("stoker", "jobs", "worker")}
    graph = {
        name: {imported for imported in imports(path) if imported in modules and imported != name}
        for name, path in modules.items()
        if name != "stoker"  # the public names: imports everything
    }
    for uses in graph.values():
        uses.discard("stoker")
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"cycle: {' -> '.join(error.args[1])}")


def test_the_public_names_are_exactly_these() -> None:
    assert sorted(stoker.__all__) == sorted(PUBLIC_NAMES)
    assert all(hasattr(stoker, name) for name in stoker.__all__)


def test_the_library_never_imports_the_application() -> None:
    wrong = [
        f"{module_of(path)} imports {imported}"
        for path in sources("stoker")
        for imported in imports(path)
        if within(imported, "jobs") or within(imported, "worker")
    ]
    assert not wrong, "\n".join(wrong)


def test_what_a_web_process_imports_needs_no_worker() -> None:
    rooms = [path for name in WEB for path in (*sources(f"stoker/{name}"), ROOT / f"stoker/{name}.py")]
    wrong = [
        f"{module_of(path)} imports {imported}"
        for path in rooms
        if path.is_file()
        for imported in imports(path)
        if any(within(imported, other) for other in ("stoker.worker", "fastapi", "arq.worker"))
    ]
    assert not wrong, "\n".join(wrong)


def test_importing_stoker_brings_no_server() -> None:
    code = (
        "import stoker, sys; print([m for m in ('fastapi', 'uvicorn', 'stoker.worker') if m in sys.modules])"
    )
    ran = subprocess.run(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "[]"


def test_the_application_is_written_with_the_public_names_only() -> None:
    names = {f"stoker.{name}" for name in PUBLIC_NAMES} | {"stoker"}
    wrong = [
        f"{module_of(path)} imports {imported}"
        for path in sources("jobs")
        for imported in imports(path)
        if within(imported, "stoker") and imported not in names
    ]
    assert not wrong, "\n".join(wrong)


def test_the_library_names_no_domain() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in (ROOT / "stoker").rglob("*")
        if path.suffix in {".py", ".lua", ".sql", ".html", ".js", ".css"}
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(r"project(?!'s root|:42|\.toml)", line, re.IGNORECASE) and "`ProjectChanged`" not in line
    ]
    assert not wrong, "\n".join(wrong)
