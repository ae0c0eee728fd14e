"""Commands that use an open Stoker. Every user who can run commands on this machine has an operator's rights.

`operator` turns a coroutine into a command: it adds the common options, opens the Stoker, and prints the
coroutine's result, with `--json` as JSON.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import typer
from pydantic import BaseModel, ValidationError

from stoker.cache.view import LARGEST_ID
from stoker.cli.display import show_json
from stoker.cli.servers import DATA, Data, Embedded, Json, session
from stoker.errors import StokerError
from stoker.operations.audit import Actor, local_actor
from stoker.settings import Settings
from stoker.stoker import Stoker

T = TypeVar("T", bound=BaseModel)
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
As = Annotated[
    str | None,
    typer.Option("--as", metavar="NAME", help="Your name for the audit; default: SUDO_USER, or the user."),
]
Limit = Annotated[int, typer.Option(min=1, max=200, help="The largest number of rows.")]
Before = Annotated[
    int | None, typer.Option(min=1, max=LARGEST_ID, help="Only rows before this id: the next page.")
]
OPTIONS = [
    Parameter("data", Parameter.KEYWORD_ONLY, default=DATA, annotation=Data),
    Parameter("embedded", Parameter.KEYWORD_ONLY, default=False, annotation=Embedded),
    Parameter("as_name", Parameter.KEYWORD_ONLY, default=None, annotation=As),
    Parameter("as_json", Parameter.KEYWORD_ONLY, default=False, annotation=Json),
]
"""The options of every operator's command."""


class NotConfirmed(StokerError):
    """An action that cannot be undone needs a confirmation, and there is no terminal to ask on."""


class NotDone(StokerError):
    """Something is wrong, or was not done in time. `found` is shown nevertheless."""

    def __init__(self, message: str, found: BaseModel | None = None) -> None:
        super().__init__(message)
        self.found = found


@dataclass(frozen=True)
class On:
    """What a command uses, and who runs it."""

    stoker: Stoker
    settings: Settings
    actor: Actor


def operator(draw: Callable[[T], None]) -> Callable[[Callable[..., Awaitable[T]]], Callable[..., None]]:
    """Turn a coroutine into a command; its parameters after the first are the command's own."""

    def made(work: Callable[..., Awaitable[T]]) -> Callable[..., None]:
        def run(*, data: Path, embedded: bool, as_name: str | None, as_json: bool, **given: Any) -> None:  # noqa: ANN401 - its own
            async def opened(settings: Settings) -> T:
                async with Stoker.opened(settings) as stoker:
                    return await work(On(stoker, settings, local_actor(as_name)), **given)

            shown: Callable[[Any], None] = show_json if as_json else draw
            with session(embedded=embedded, data=data) as servers:
                try:
                    shown(asyncio.run(opened(servers.settings)))
                except NotDone as error:
                    if error.found is not None:
                        shown(error.found)
                    raise

        hints = get_type_hints(work, include_extras=True)
        _, *own = signature(work).parameters.values()
        own = [one.replace(annotation=hints[one.name], kind=Parameter.KEYWORD_ONLY) for one in own]
        run.__signature__ = Signature([*own, *OPTIONS])  # type: ignore[attr-defined]
        run.__doc__ = work.__doc__
        return run

    return made


@contextmanager
def checked() -> Iterator[None]:
    """Turn a validation error of a model into a usage error that names the option."""
    try:
        yield
    except ValidationError as error:
        first = error.errors()[0]
        hint = ".".join(str(part) for part in first["loc"]) or None
        raise typer.BadParameter(first["msg"], param_hint=hint) from error


def confirm(question: str) -> None:
    """Ask for confirmation. Exits with code 1 on no; raises NotConfirmed without a terminal."""
    if not sys.stdin.isatty():
        raise NotConfirmed(f"{question} There is no terminal to answer on: give --yes")
    typer.confirm(question, abort=True, err=True)
