"""The commands, put together. A command's module is imported when it is run, never to list it.

Importing everything takes one second more, which only commands that serve the API need to wait for.
"""

from __future__ import annotations

import gc
from collections import UserDict
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperGroup
from typer.main import get_command

from stoker.cli.group import Group


class Command(NamedTuple):
    """Where a command is, and its line of the list of commands, which must not import it."""

    where: str
    """Its module and its name there; a module without a dot is in this package."""
    says: str
    """At most 63 letters: it fits a terminal of 80 columns."""


COMMANDS = {
    "up": Command("serve:up", "Start everything; without URLs, servers of its own too."),
    "run": Command("work:run", "Run the worker until SIGTERM or Ctrl-C."),
    "arq": Command("arq:arq", "Run the worker of an arq application."),
    "api": Command("serve:api", "Serve console, API and metrics."),
    "migrate": Command("data:migrate", "Bring the database up to date."),
    "sample-data": Command("data:sample_data", "Fill an empty database with plausible data."),
    "captures": Command("captures:app", "Triggers that record changes in tables: list, compare, drop."),
    "check": Command("data:check", "Check settings and servers; exit 1 on errors."),
    "cover": Command("cover:cover", "Show what views read, and what records changes of it."),
    "status": Command("status:status", "Show servers, workers, lanes and cache; exit 1 on errors."),
    "history": Command("past:history", "Show since when reads of a view are slow, and what happened."),
    "explain": Command("explain:explain", "Say what a read of an entry does now, and why."),
    "events": Command("events:app", "Recorded changes: list them, follow one."),
    "invalidate": Command("operate:invalidate", "Invalidate a scope; a worker applies it."),
    "warm": Command("warming:app", "Warm entries now; show or explain predicted warming."),
    "trace": Command("traces:app", "Traces of reads for `warm evaluate`: record, show, make up."),
    "verify": Command("operate:verify", "Compare cached entries with SQL; exit 1 if one is stale."),
    "chaos": Command("chaos:chaos", "Break processes and servers of its own, and check every read."),
    "jobs": Command("jobs:app", "Jobs: list, show, enqueue, cancel; batches of them."),
    "dead": Command("dead:app", "Jobs that will not run again by themselves."),
    "schedule": Command("planned:app", "The schedule: list, run now, pause, resume."),
    "lanes": Command("lanes:app", "Lanes: list, pause, resume, set their slots."),
    "workers": Command("workers:app", "Worker processes: list them, keep one quiet."),
    "capacity": Command("workers:capacity", "Show how busy the workers are, and how many are needed."),
    "cache": Command("cached:app", "The cache: show or refresh a scope, invalidate, warm, verify."),
    "tokens": Command("tokens:app", "Tokens of the API: add, list, revoke."),
    "audit": Command("audited:audit", "List what operators did, the latest first."),
    "mcp": Command("assist:mcp", "Serve the Model Context Protocol to assistants; read only."),
}
"""The commands by name, in the order of help. An application adds its own before it calls `main`."""


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

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - the library's own
        """Write the list of commands, without an import of them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.says) for name, command in COMMANDS.items()])


def _make(name: str) -> Any:  # noqa: ANN401 - the library's own kind of command
    module, _, attribute = COMMANDS[name].where.partition(":")
    path = module if "." in module else f"{__package__}.{module}"
    with _without_collections():
        written = getattr(import_module(path), attribute)
    alone = typer.Typer(add_completion=False, rich_markup_mode=None)
    if isinstance(written, typer.Typer):
        own = written.info.cls
        alone.add_typer(written, name=name, cls=own if isinstance(own, type) else Group)
    else:
        alone.command(name=name)(written)
    made: Any = get_command(alone)
    return made.commands[name] if isinstance(written, typer.Typer) else made


@contextmanager
def _without_collections() -> Iterator[None]:
    """Collect no garbage meanwhile: imports leave little, and looking for it took an eighth of the start."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


app = typer.Typer(
    name="stoker",
    cls=LazyGroup,
    help="Keeps a web app's Redis cache correct and warm from a background worker.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 success, 1 something is wrong or was not done, 2 wrong usage, settings or traces.",
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
