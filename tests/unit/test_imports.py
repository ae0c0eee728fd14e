"""What importing Stoker costs, counted in modules: time depends on the machine."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import stoker
from stoker.cli.app import COMMANDS

DRIVERS = {
    "annotated_types",
    "async_timeout",
    "asyncpg",
    "cronsim",
    "backports",
    "cryptography",
    "cython_runtime",
    "deprecated",
    "dotenv",
    "greenlet",
    "hiredis",
    "importlib_metadata",
    "jwt",
    "opentelemetry",
    "pydantic",
    "pydantic_core",
    "pydantic_settings",
    "redis",
    "sqlalchemy",
    "stoker",
    "typing_extensions",
    "typing_inspection",
    "wrapt",
    "zipp",
    "zstandard",
}
"""What a web process imports, and what that needs."""
MOST = 740
"""Modules, the standard library's included: 640 with Python 3.11, 708 with the lowest versions."""
MOST_OF_STATUS = 820


NOT_FOR_STATUS = {
    "alembic",
    "fastapi",
    "uvicorn",
    "rich.console",
    "stoker.api",
    "stoker.cli.opened",
    "stoker.embedded",
    "stoker.http",
    "stoker.operations.dead",
    "stoker.operations.jobs",
    "stoker.worker.process",
}
"""Of other commands: what `stoker status` would import in vain, while somebody waits for it."""
NOWHERE = {
    "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
    "REDIS_URL": "redis://127.0.0.1:1/0",
    "STOKER__DOMAIN": "tests.support.drill_domain",
}
"""Servers that nobody listens for."""


def imported_by(statement: str) -> set[str]:
    told = "import json; print(json.dumps([*set(sys.modules) - before]))"
    code = f"import sys; before = set(sys.modules)\n{statement}\n{told}"
    ran = subprocess.run(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **NOWHERE},
    )
    found: list[str] = json.loads(ran.stdout.splitlines()[-1])
    return set(found)


def imported_by_command(*arguments: str) -> set[str]:
    run = "from contextlib import suppress\nfrom stoker.cli import main\nwith suppress(SystemExit): main()"
    return imported_by(f"sys.argv = {['stoker', *arguments]}\n{run}")


def others(modules: set[str]) -> set[str]:
    """The packages among them that are not Python's own."""
    roots = {name.partition(".")[0] for name in modules}
    return {root for root in roots if root not in sys.stdlib_module_names and not root.startswith("_")}


@pytest.mark.parametrize("statement", ["import stoker", "from stoker import NotFound"])
def test_importing_stoker_imports_nothing_that_is_not_used(statement: str) -> None:
    found = imported_by(statement)
    assert others(found) == {"stoker"}
    assert len(found) < 40, sorted(found)


def test_all_public_names_import_the_drivers_and_no_more() -> None:
    found = imported_by("from stoker import *")
    assert others(found) <= DRIVERS
    assert len(found) < MOST, f"{len(found)} modules"


def test_the_list_of_commands_imports_none_of_them() -> None:
    found = imported_by_command("--help")
    ours = {name for name in found if name.startswith("stoker.cli.")}
    assert ours == {"stoker.cli.app", "stoker.cli.group"}
    assert not others(found) & DRIVERS - {"stoker", "typing_extensions"}


def test_status_imports_nothing_that_only_other_commands_need() -> None:
    found = imported_by_command("status")
    assert "stoker.operations.overview" in found, "it has run"
    assert not found & NOT_FOR_STATUS
    assert len(found) < MOST_OF_STATUS, f"{len(found)} modules"


def test_the_line_of_each_command_fits_the_list() -> None:
    for name, command in COMMANDS.items():
        assert len(command.says) <= 63, name


def test_type_checkers_are_told_the_same_as_python() -> None:
    tree = ast.parse(Path(stoker.__file__).read_text())
    [typed] = [node for node in tree.body if isinstance(node, ast.If) and isinstance(node.test, ast.Name)]
    told = {
        alias.name: node.module
        for node in typed.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert told == stoker._MODULES
    assert set(told) == set(stoker.__all__)
    assert set(stoker.__all__) <= set(dir(stoker))
    with pytest.raises(AttributeError, match="module 'stoker' has no attribute 'Veiw'"):
        _ = stoker.Veiw  # type: ignore[attr-defined]
