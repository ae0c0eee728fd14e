"""The commands, put together. A command's module is imported when it is run, or when help lists it.

Importing everything takes one second more, which only commands that serve the API need to wait for.
"""

from __future__ import annotations

from collections import UserDict
from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

COMMANDS = {
    "up": "serve:up",
    "run": "work:run",
    "arq": "arq:arq",
    "api": "serve:api",
    "migrate": "data:migrate",
    "sample-data": "data:sample_data",
    "captures": "captures:app",
    "check": "data:check",
    "cover": "cover:cover",
    "status": "status:status",
    "explain": "explain:explain",
    "events": "events:app",
    "invalidate": "operate:invalidate",
    "warm": "warming:app",
    "trace": "traces:app",
    "verify": "operate:verify",
    "chaos": "chaos:chaos",
    "jobs": "jobs:app",
    "dead": "dead:app",
    "schedule": "planned:app",
    "lanes": "lanes:app",
    "workers": "workers:app",
    "capacity": "workers:capacity",
    "cache": "cached:app",
    "tokens": "tokens:app",
    "audit": "audited:audit",
    "mcp": "assist:mcp",
}
"""Name of a command -> its module and its name there; a module without a dot is in this package.

An application adds commands of its own here before it calls `main`."""


class Commands(UserDict[str, Any]):
    """Commands by name, in the order of help; each is made when it is first asked for."""

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 - the library's own kind of command
        if self.data[name] is None:
            self.data[name] = _make(name)
        return self.data[name]


class LazyGroup(TyperGroup):
    """A group whose commands are imported one by one."""

    def __init__(self, **given: Any) -> None:  # noqa: ANN401 - the library's own
        super().__init__(**given)
        self.commands = Commands(dict.fromkeys(COMMANDS))

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401 - the library's context
        """The names, without an import of the commands."""
        del ctx
        return list(self.commands)


def _make(name: str) -> Any:  # noqa: ANN401 - the library's own kind of command
    module, _, attribute = COMMANDS[name].partition(":")
    path = module if "." in module else f"{__package__}.{module}"
    written = getattr(import_module(path), attribute)
    alone = typer.Typer(add_completion=False, rich_markup_mode=None)
    if isinstance(written, typer.Typer):
        alone.add_typer(written, name=name)
    else:
        alone.command(name=name)(written)
    made: Any = get_command(alone)
    return made.commands[name] if isinstance(written, typer.Typer) else made


app = typer.Typer(
    name="stoker",
    cls=LazyGroup,
    help="Keeps a web app's Redis cache correct and warm from a background worker.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 success, 1 something is wrong or was not done, 2 wrong usage or settings.",
)


def _tell_version(*, asked: bool) -> None:
    if asked:
        typer.echo(f"stoker {version('stoker')}")
        raise typer.Exit


@app.callback()
def stoker(
    *,
    _version: Annotated[
        bool,
        typer.Option("--version", help="Show the version and exit.", callback=_tell_version, is_eager=True),
    ] = False,
) -> None:
    """The options of the whole program."""
