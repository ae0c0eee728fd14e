"""`stoker tokens`: who may ask the API; add, list, revoke, without a restart of anything."""

from __future__ import annotations

from typing import Annotated

import typer
from pydantic import ValidationError

from stoker.cli.display import note, show, show_json, table
from stoker.cli.opened import Json, us, with_stoker
from stoker.cli.servers import DATA, Data, Embedded
from stoker.operations import tokens
from stoker.stoker import Stoker
from stoker.worker.settings import Role, WorkerSettings

app = typer.Typer(help="Tokens of the API: add, list, revoke.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Whose token it is; written to the audit log.")]


@app.command()
def add(
    name: Name,
    data: Data = DATA,
    role: Annotated[Role, typer.Option(help="A viewer looks, an operator acts too.")] = Role.VIEWER,
    days: Annotated[
        int | None,
        typer.Option(min=1, max=tokens.MOST_DAYS, help="Days until it ends by itself; without: it does not."),
    ] = None,
    *,
    embedded: Embedded = False,
    as_json: Json = False,
) -> None:
    """Make a token and print it, once: only its hash is kept."""

    async def make(stoker: Stoker, settings: WorkerSettings) -> str:
        try:
            return await tokens.add(stoker, us().actor, name, role, settings.api.tokens, days)
        except ValidationError as error:
            raise typer.BadParameter("letters, digits, . _ - only, at most 40", param_hint="NAME") from error

    given = with_stoker(data, make, embedded=embedded)
    if as_json:
        show_json({"name": name, "role": role, "days": days, "token": given})
    else:
        note("Keep it now: it is not shown again. It counts within 5 seconds.")
        show(given)


@app.command("list")
def list_(data: Data = DATA, *, embedded: Embedded = False, as_json: Json = False) -> None:
    """List the tokens that were added, those in use first; tokens of the settings are not among them."""
    found = with_stoker(data, lambda stoker, _: tokens.list_tokens(stoker), embedded=embedded)
    if as_json:
        show_json([one.model_dump(mode="json") for one in found])
    else:
        columns = list(tokens.TokenFigures.model_fields)
        table("tokens", columns, [[getattr(one, column) for column in columns] for one in found])


@app.command()
def revoke(name: Name, data: Data = DATA, *, embedded: Embedded = False, as_json: Json = False) -> None:
    """Let a token count no more, in every process, within 5 seconds; its console sessions end too."""
    with_stoker(data, lambda stoker, _: tokens.revoke(stoker, us().actor, name), embedded=embedded)
    if as_json:
        show_json({"name": name, "revoked": True})
    else:
        show(f"{name} is revoked")
