"""`stoker cache`: show and refresh a scope; the commands invalidate, warm and verify are here, too."""

from __future__ import annotations

from typing import Annotated

import typer

from stoker.cache.view import LARGEST_ID
from stoker.cli import operate
from stoker.cli.display import models, show, table
from stoker.cli.opened import Before, Limit, NotDone, On, operator
from stoker.cli.operate import Id, Kind, Views
from stoker.operations import cache, comparing, entries, findings
from stoker.operations.cache import Refreshing
from stoker.operations.comparing import Comparison, Match
from stoker.operations.entries import ScopeFigures
from stoker.operations.findings import Acknowledged, Findings

app = typer.Typer(help="The cache: show or refresh a scope, invalidate, warm, verify.", no_args_is_help=True)

app.command("invalidate")(operate.invalidate)
app.command("warm")(operate.warm)
app.command("verify")(operate.verify)


def _draw(found: ScopeFigures) -> None:
    entry = ["view", "params", "state", "age_s", "expires_in_s", "stored_bytes", "body_bytes", "build_ms"]
    models(found.scope, entry, found.entries)
    models("stamps", ["name", "present", "made_at"], found.stamps)
    columns = ["id", "by", "hard", "recorded_at", "applied_at", "attempts", "error"]
    models("last events", columns, found.events or [])


def _say_refreshing(found: Refreshing) -> None:
    show(f"enqueued {len(found.job_ids)} refreshes: {', '.join(found.job_ids)}")


@app.command("show")
@operator(_draw)
async def show_scope(on: On, kind: Kind, scope_id: Id) -> ScopeFigures:
    """Show what the cache holds for a scope: entries, stamps, the events that invalidated it last."""
    return await entries.scope_figures(on.stoker, kind, scope_id)


def _draw_compared(found: Comparison) -> None:
    models(found.scope, ("view", "params", "match", "age_s"), found.entries)
    for entry in found.entries:
        if entry.match is Match.DIFFERS:
            show(f"{entry.view} {entry.params}".rstrip() + f" differs in {', '.join(entry.differs)}")
            for suspect in entry.suspects:
                show(f"  {suspect}")


@app.command("compare")
@operator(_draw_compared)
async def compare_scope(on: On, kind: Kind, scope_id: Id, view: Views = None) -> Comparison:
    """Compare a scope's entries with SQL: match or diff; exit 1 if one differs. Nothing is healed."""
    found = await comparing.compare(on.stoker, on.actor, kind, scope_id, view or ())
    if found.differing:
        raise NotDone(f"{found.differing} of {len(found.entries)} entries differ from SQL", found)
    return found


def _draw_findings(found: Findings) -> None:
    columns = ("id", "view", "scope", "params", "found_at", "age_s", "acknowledged_by", "differs", "suspects")
    rows = [
        (*(getattr(one, name) for name in columns[:7]), ", ".join(one.differs), "; ".join(one.suspects))
        for one in found.findings
    ]
    table(f"stale entries found: {found.open:,} open, {found.of:,} in 90 days", columns, rows)


@app.command("findings")
@operator(_draw_findings)
async def list_findings(
    on: On,
    limit: Limit = 50,
    before: Before = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Those that were acknowledged, too.")] = False,
) -> Findings:
    """List the stale entries that the verifier found; each was healed when it was found."""
    return await findings.listing(on.stoker, limit, before, every=everything)


def _say_acknowledged(found: Acknowledged) -> None:
    show(f"acknowledged {found.acknowledged:,}")


@app.command("acknowledge")
@operator(_say_acknowledged)
async def acknowledge(
    on: On,
    finding: Annotated[
        int | None,
        typer.Argument(metavar="ID", min=1, max=LARGEST_ID, help="As `cache findings` shows it; none: all."),
    ] = None,
) -> Acknowledged:
    """Acknowledge one finding, or without an id all of them: they are no concern of the status any more."""
    if finding is not None:
        return await findings.acknowledge(on.stoker, on.actor, finding, only=finding)
    newest = (await findings.listing(on.stoker, 1)).findings
    return await findings.acknowledge(on.stoker, on.actor, newest[0].id if newest else 0)


@app.command("refresh")
@operator(_say_refreshing)
async def refresh(on: On, kind: Kind, scope_id: Id, view: Views = None) -> Refreshing:
    """Rebuild a scope's entries without parameters; readers get the old ones meanwhile."""
    return await cache.refresh(on.stoker, on.actor, kind, scope_id, view or ())
