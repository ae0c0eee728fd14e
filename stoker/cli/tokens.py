"""`stoker tokens`: add, list and revoke tokens of the API, without a restart."""

from __future__ import annotations

from typing import Annotated

import typer
from pydantic import BaseModel, RootModel

from stoker.cli.display import models, note, show
from stoker.cli.opened import On, checked, operator
from stoker.operations import tokens
from stoker.operations.tokens import TokenFigures
from stoker.settings import Role

app = typer.Typer(help="Tokens of the API: add, list, revoke.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Whose token it is; written to the audit log.")]
Days = Annotated[
    int | None,
    typer.Option(min=1, max=tokens.MOST_DAYS, help="Days until it expires. Default: never."),
]
TheRole = Annotated[Role, typer.Option(help="A viewer reads; an operator also acts.")]


class Made(BaseModel):
    """A token that was made. It cannot be shown again."""

    name: str
    role: Role
    days: int | None = None
    token: str


class Revoked(BaseModel):
    """A revoked token."""

    name: str
    revoked: bool = True


class Listed(RootModel[list[TokenFigures]]):
    """Tokens that were added."""


def _say_made(found: Made) -> None:
    note("Keep it now: it is not shown again. It is valid within 5 seconds.")
    show(found.token)


def _draw(found: Listed) -> None:
    models("tokens", list(TokenFigures.model_fields), found.root)


def _say_revoked(found: Revoked) -> None:
    show(f"{found.name} is revoked")


@app.command("add")
@operator(_say_made)
async def add(on: On, name: Name, role: TheRole = Role.VIEWER, days: Days = None) -> Made:
    """Make a token and print it once: only its hash is stored."""
    with checked():
        given = await tokens.add(on.stoker, on.actor, name, role, on.settings.api.tokens, days)
    return Made(name=name, role=role, days=days, token=given)


@app.command("list")
@operator(_draw)
async def list_(on: On) -> Listed:
    """List the tokens that were added, those in use first. Tokens of the settings are not listed."""
    return Listed(await tokens.list_tokens(on.stoker))


@app.command("revoke")
@operator(_say_revoked)
async def revoke(on: On, name: Name) -> Revoked:
    """Revoke a token, in every process, within 5 seconds. Its console sessions end, too."""
    await tokens.revoke(on.stoker, on.actor, name)
    return Revoked(name=name)
