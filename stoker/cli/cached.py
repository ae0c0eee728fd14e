"""`stoker cache`: show and refresh a scope; the commands invalidate, warm and verify are here, too."""

from __future__ import annotations

import typer

from stoker.cli import operate
from stoker.cli.display import models, show
from stoker.cli.opened import On, operator
from stoker.cli.operate import Id, Kind, Views
from stoker.operations import cache, entries
from stoker.operations.cache import Refreshing
from stoker.operations.entries import ScopeFigures

app = typer.Typer(help="The cache: show or refresh a scope, invalidate, warm, verify.", no_args_is_help=True)

app.command("invalidate")(operate.invalidate)
app.command("warm")(operate.warm)
app.command("verify")(operate.verify)


def _draw(found: ScopeFigures) -> None:
    entry = ["view", "params", "state", "age_s", "expires_in_s", "stored_bytes", "body_bytes", "build_ms"]
    models(found.scope, entry, found.entries)
    models("stamps", ["name", "present", "made_at"], found.stamps)
    models(
        "last events", ["id", "by", "hard", "recorded_at", "applied_at", "attempts", "error"], found.events
    )


def _say_refreshing(found: Refreshing) -> None:
    show(f"enqueued {len(found.job_ids)} refreshes: {', '.join(found.job_ids)}")


@app.command("show")
@operator(_draw)
async def show_scope(on: On, kind: Kind, scope_id: Id) -> ScopeFigures:
    """Show what the cache holds for a scope: entries, stamps, the events that invalidated it last."""
    return await entries.scope_figures(on.stoker, kind, scope_id)


@app.command("refresh")
@operator(_say_refreshing)
async def refresh(on: On, kind: Kind, scope_id: Id, view: Views = None) -> Refreshing:
    """Rebuild a scope's entries without parameters; readers get the old ones meanwhile."""
    return await cache.refresh(on.stoker, on.actor, kind, scope_id, view or ())
