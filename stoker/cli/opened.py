"""How a command works on an open Stoker. Whoever runs commands on this machine has an operator's rights.

`operator` makes a command of a coroutine: it adds the options that all have, opens the Stoker, and shows what
the coroutine returns, for programs as JSON.
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

from stoker.cli.display import show_json
from stoker.cli.servers import DATA, Data, Embedded, Json, session
from stoker.errors import StokerError
from stoker.operations.audit import Actor, local_actor
from stoker.settings import Settings
from stoker.stoker import Stoker

T = TypeVar("T", bound=BaseModel)
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Limit = Annotated[int, typer.Option(min=1, max=200, help="How many at most.")]
OPTIONS = [
    Parameter("data", Parameter.KEYWORD_ONLY, default=DATA, annotation=Data),
    Parameter("embedded", Parameter.KEYWORD_ONLY, default=False, annotation=Embedded),
    Parameter("as_json", Parameter.KEYWORD_ONLY, default=False, annotation=Json),
]
"""What every command of an operator takes."""


class NotConfirmed(StokerError):
    """Nobody is there to confirm what cannot be undone."""


class NotDone(StokerError):
    """Something is wrong, or was not done (in time); `found` is shown all the same."""

    def __init__(self, message: str, found: BaseModel | None = None) -> None:
        super().__init__(message)
        self.found = found


@dataclass(frozen=True)
class On:
    """What a command works on, and who runs it."""

    stoker: Stoker
    settings: Settings
    actor: Actor


def operator(draw: Callable[[T], None]) -> Callable[[Callable[..., Awaitable[T]]], Callable[..., None]]:
    """Make a command of a coroutine; its parameters behind the first are the command's own."""

    def made(work: Callable[..., Awaitable[T]]) -> Callable[..., None]:
        def run(*, data: Path, embedded: bool, as_json: bool, **given: Any) -> None:  # noqa: ANN401 - its own
            async def opened(settings: Settings) -> T:
                async with Stoker.opened(settings) as stoker:
                    return await work(On(stoker, settings, local_actor()), **given)

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
    """Turn what a model refuses into a usage error that names what is wrong."""
    try:
        yield
    except ValidationError as error:
        first = error.errors()[0]
        hint = ".".join(str(part) for part in first["loc"]) or None
        raise typer.BadParameter(first["msg"], param_hint=hint) from error


def confirm(question: str) -> None:
    """Ask; leaves with exit code 1 on no, raises NotConfirmed where nobody can answer."""
    if not sys.stdin.isatty():
        raise NotConfirmed(f"{question} Nobody is there to answer: give --yes")
    typer.confirm(question, abort=True, err=True)
