"""How a command works on an open Stoker: the operator at this machine's shell may do what the API's may.

Commands call the API's own routes, so that both show and do the same.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from pydantic import BaseModel

from stoker.api.access import Reader
from stoker.cli.display import show, show_json
from stoker.cli.servers import session
from stoker.errors import StokerError
from stoker.operations.audit import local_actor
from stoker.settings import Role, Settings
from stoker.stoker import Stoker

T = TypeVar("T")
Json = Annotated[bool, typer.Option("--json", help="For programs.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Limit = Annotated[int, typer.Option(min=1, max=200, help="How many at most.")]


class NotConfirmed(StokerError):
    """What cannot be taken back is not done without a word."""


def us() -> Reader:
    """Whoever runs the command: an operator, audited under the name of the user."""
    return Reader(local_actor(), Role.OPERATOR)


def with_stoker(data: Path, work: Callable[[Stoker, Settings], Awaitable[T]], *, embedded: bool) -> T:
    """What `work` returns, given an open Stoker on the servers of the settings."""
    with session(embedded=embedded, data=data) as opened:
        return asyncio.run(_with_stoker(opened.settings, work))


def show_model(found: BaseModel) -> None:
    """Print what was found for programs."""
    show_json(found.model_dump(mode="json"))


def show_either(found: BaseModel, said: str, *, as_json: bool) -> None:
    """Print what was done: for programs all of it, for people a sentence."""
    if as_json:
        show_model(found)
    else:
        show(said)


def confirm(question: str, *, yes: bool) -> None:
    """Ask unless told not to; leaves with exit code 1 on no, raises NotConfirmed where nobody can answer."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise NotConfirmed(f"{question} Nobody is there to answer: give --yes")
    typer.confirm(question, abort=True, err=True)


async def _with_stoker(settings: Settings, work: Callable[[Stoker, Settings], Awaitable[T]]) -> T:
    async with Stoker.opened(settings) as stoker:
        return await work(stoker, settings)
