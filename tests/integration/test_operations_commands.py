"""docs/operations: every command that is named exists, with its options."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
import yaml
from typer.main import get_command

from stoker.cli.app import app
from stoker.cli.warming import DEFAULT
from tests.support.operations import (
    COMPOSE,
    KUBERNETES,
    OPERATIONS,
    PAGES,
    ROOT,
    UNITS,
    pods,
)


def refuse_unknown(arguments: list[str]) -> None:
    """Assert that the command line knows a command, its options and its number of arguments."""
    command: Any = get_command(app)
    left = list(arguments)
    if left[:1] == ["warm"] and left[1:2] != ["evaluate"]:
        left.insert(1, DEFAULT)  # `stoker warm` is a group that has a command for everything else
    while left and getattr(command, "commands", None):
        name = left.pop(0)
        assert name in command.commands, f"no command {name!r} in {arguments}"
        command = command.commands[name]
    assert not getattr(command, "commands", None), f"{arguments} is not a whole command"
    options = {option: param for param in command.params for option in param.opts if option.startswith("-")}
    places = [param for param in command.params if param.param_type_name == "argument"]
    given = 0
    while left:
        word = left.pop(0)
        if not word.startswith("-"):
            given += 1
            continue
        assert word in options, f"no option {word} of {arguments}"
        if not options[word].is_flag:
            assert left, f"{word} needs a value in {arguments}"
            left.pop(0)
    assert sum(place.required for place in places) <= given <= len(places), arguments


def named_commands() -> list[tuple[str, str]]:
    found = [
        (path.name, command)
        for path in PAGES
        for command in re.findall(r"`stoker ([a-z][^`]*)`", path.read_text())
    ]
    for unit in UNITS:
        started = re.findall(r"^ExecStart=\S*/stoker (.*)$", unit.read_text(), re.MULTILINE)
        found += [(unit.name, command) for command in started]
    for path in [*UNITS, *KUBERNETES, OPERATIONS / "prometheus.yml"]:
        advised = re.findall(r"(?:`|-- |# )stoker (tokens [^`\n]*)", path.read_text())
        found += [(path.name, command.rstrip("`.")) for command in advised]
    for owner, spec in pods():
        found += [(owner, shlex.join(container["args"])) for container in spec["containers"]]
    for name, service in yaml.safe_load(COMPOSE.read_text())["services"].items():
        if service.get("image") == "stoker":
            found.append((f"compose {name}", shlex.join(service["command"])))
    return found


@pytest.mark.parametrize("command", sorted({command for _, command in named_commands()}))
def test_every_command_that_is_named_exists(command: str) -> None:
    refuse_unknown(shlex.split(command))


def test_commands_are_found_where_they_should_be() -> None:
    places = {where for where, _ in named_commands()}
    assert {unit.name for unit in UNITS} | {"stoker-api", "stoker-worker", "stoker-migrate"} <= places
    assert {"compose worker", "compose api", "compose migrate", "prometheus.yml"} <= places


@pytest.mark.parametrize("wrong", ["nothing", "jobs", "jobs list --nothing", "jobs show", "warm a b c"])
def test_a_command_that_does_not_exist_would_be_found(wrong: str) -> None:
    with pytest.raises(AssertionError):
        refuse_unknown(shlex.split(wrong))


def test_the_procfile_names_commands_that_exist() -> None:
    for line in (ROOT / "Procfile").read_text().splitlines():
        command = line.partition(": ")[2].replace("$PORT", "8080")
        refuse_unknown(shlex.split(command)[1:])
