"""`stoker captures`: the triggers that record changes; what stands, what differs, and dropping them."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from stoker.captures.install import drop as drop_captures
from stoker.captures.standing import Compared, State, compare
from stoker.cli.display import note, show, show_json, table
from stoker.cli.opened import Yes, confirm
from stoker.cli.servers import DATA, Data, Embedded, Json, Session, session
from stoker.domain import load_domain
from stoker.postgres import database_errors, engine_of

app = typer.Typer(help="Triggers that record changes in tables: list, compare, drop.", no_args_is_help=True)
DATABASE_ONLY = ("database_url",)
DIFFERENT = 1
"""Exit code of `diff --check` where something is to be done."""


@app.command("list")
def list_(data: Data = DATA, *, embedded: Embedded = False, as_json: Json = False) -> None:
    """Every capture, declared or in the database, and its state."""
    with session(embedded=embedded, data=data, needs=DATABASE_ONLY) as opened:
        _show(asyncio.run(_compared(opened)), as_json=as_json)


@app.command("diff")
def diff(
    data: Data = DATA,
    *,
    check: Annotated[bool, typer.Option("--check", help="Exit 1 if `stoker migrate` has work.")] = False,
    embedded: Embedded = False,
    as_json: Json = False,
) -> None:
    """What `stoker migrate` would change: captures that are missing, changed or left over."""
    with session(embedded=embedded, data=data, needs=DATABASE_ONLY) as opened:
        found = [one for one in asyncio.run(_compared(opened)) if one.state is not State.SAME]
    if found or as_json:
        _show(found, as_json=as_json)
    else:
        show("the captures are as declared")
    if check and found:
        raise typer.Exit(DIFFERENT)


@app.command("drop")
def drop(
    table: Annotated[
        str | None,
        typer.Argument(
            metavar="TABLE", help="As `captures list` names it; none: the captures of all tables."
        ),
    ] = None,
    data: Data = DATA,
    *,
    yes: Yes = False,
    embedded: Embedded = False,
    as_json: Json = False,
) -> None:
    """Drop triggers: from then on, nothing is recorded unless the application does."""
    with session(embedded=embedded, data=data, needs=DATABASE_ONLY) as opened:
        if not yes:
            confirm(f"Stop recording changes of {table or 'all tables'}?")
        done = asyncio.run(_dropped(opened, table))
    if as_json:
        show_json({"dropped": done})
        return
    for one in done or ["nothing to drop"]:
        show(one)


def _show(found: list[Compared], *, as_json: bool) -> None:
    facts = [(one.table, one.kind, str(one.state), one.said) for one in found]
    names = ("table", "event", "state", "why")
    if as_json:
        show_json([dict(zip(names, row, strict=True)) for row in facts])
    else:
        table("captures", names, facts)


async def _compared(opened: Session) -> list[Compared]:
    domain, schema = load_domain(opened.settings.domain), opened.settings.database.schema_name
    engine = engine_of(opened.database_url, schema=schema)
    try:
        with database_errors():
            async with engine.connect() as connection:
                return await compare(connection, domain.captures, schema)
    finally:
        await engine.dispose()


async def _dropped(opened: Session, table: str | None) -> list[str]:
    schema = opened.settings.database.schema_name
    engine = engine_of(opened.database_url, schema=schema)
    try:
        return await drop_captures(engine, schema, table, note)
    finally:
        await engine.dispose()
