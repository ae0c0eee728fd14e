"""`stoker events`: list recorded changes; follow one from its commit to the reads that saw its effect."""

from __future__ import annotations

from typing import Annotated

import typer

from stoker.cli.display import models, show, table
from stoker.cli.opened import Before, Limit, On, checked, operator
from stoker.operations import events
from stoker.operations.events import EventChoice, EventList, EventShown, EventState, EventTrail

app = typer.Typer(help="Recorded changes: list them, follow one.", no_args_is_help=True)


def draw(found: list[EventShown], title: str = "events") -> None:
    """Print events."""
    columns = ("id", "kind", "state", "recorded_at", "lag_s", "recorded_by", "applied_by", "scopes", "error")
    rows = [
        (*(getattr(one, name) for name in columns[:7]), ", ".join(s.scope for s in one.scopes), one.error)
        for one in found
    ]
    table(title, columns, rows)


def _draw(found: EventList) -> None:
    back = f", back to {found.back_to:%Y-%m-%d %H:%M:%S}Z" if found.back_to else ""
    on = f"; --before {found.next} goes on" if found.next else ""
    draw(found.events, f"events: {len(found.events)} shown, {found.searched:,} searched{back}{on}")


def _draw_trail(found: EventTrail) -> None:
    draw([found.event], "event")
    show(f"rule: {found.rule or 'no rule of this release has this kind'}")
    models("what happened", ("what", "at", "after_s", "who", "about"), found.steps)


@app.command("list")
@operator(_draw)
async def list_(  # noqa: PLR0913 - one for each filter
    on: On,
    *,
    state: Annotated[EventState | None, typer.Option(help="Only of this state.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only of this kind: `order.changed`.")] = None,
    scope: Annotated[str | None, typer.Option(help="Only about this scope, as KIND:ID.")] = None,
    since: Annotated[str | None, typer.Option(metavar="WHEN", help="2h, 14:00, 2026-01-31 (UTC).")] = None,
    limit: Limit = 50,
    before: Before = None,
) -> EventList:
    """List recorded changes, the latest first, and whether each is applied."""
    given = {"state": state, "kind": kind, "scope": scope, "since": since}
    with checked():
        asked = EventChoice.model_validate({**given, "limit": limit, "before": before})
    return await events.listing(on.stoker, asked)


@app.command("show")
@operator(_draw_trail)
async def show_event(
    on: On, event: Annotated[int, typer.Argument(metavar="ID", min=1, help="As `events list` shows it.")]
) -> EventTrail:
    """Follow one change: recorded, applied, refreshed, read; with times and who did it.

    Of entries without parameters: who built the one that the cache holds, and its last read as
    its process reported it. The first hit, and who read, are not recorded.
    """
    return await events.trail(on.stoker, event)
