"""`stoker cache`: what is held of a scope; invalidate, warm and verify as the commands of those names."""

from __future__ import annotations

from typing import Annotated

import typer

from stoker.api import cache as routes
from stoker.cli import operate, verify
from stoker.cli.display import table
from stoker.cli.opened import Json, show_model, us, with_stoker
from stoker.cli.servers import DATA, Data, Embedded

app = typer.Typer(help="The cache: show a scope, invalidate, warm, verify.", no_args_is_help=True)

app.command()(operate.invalidate)
app.command()(operate.warm)
app.command(name="verify")(verify.verify)


@app.command("show")
def show_scope(
    kind: Annotated[str, typer.Argument(help="A scope kind of the domain.")],
    scope_id: Annotated[str, typer.Argument(metavar="ID")],
    data: Data = DATA,
    *,
    embedded: Embedded = False,
    as_json: Json = False,
) -> None:
    """What the cache holds of a scope: entries, stamps, the events that invalidated it last."""
    found = with_stoker(data, lambda stoker, _: routes.scope(us(), stoker, kind, scope_id), embedded=embedded)
    if as_json:
        show_model(found)
        return
    entries = ["view", "params", "state", "age_s", "expires_in_s", "stored_bytes", "body_bytes", "build_ms"]
    table(found.scope, entries, [[getattr(one, name) for name in entries] for one in found.entries])
    stamps = ["name", "present", "made_at"]
    table("stamps", stamps, [[getattr(one, name) for name in stamps] for one in found.stamps])
    events = ["id", "by", "hard", "recorded_at", "applied_at", "attempts", "error"]
    table("last events", events, [[getattr(one, name) for name in events] for one in found.events])
