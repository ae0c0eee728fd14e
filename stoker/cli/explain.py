"""`stoker explain`: why a reader of one entry sees what it sees."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from stoker.cli.display import facts, models, show, table
from stoker.cli.events import draw as draw_events
from stoker.cli.opened import On, operator
from stoker.operations.explain import Explanation
from stoker.operations.explain import explain as explained


def _draw(found: Explanation) -> None:
    for sentence in found.says:
        show(sentence)
    entry, access, demand = found.entry, found.access, found.demand
    builder = found.builder
    shown = [
        ("entry", f"{found.view} of {found.scope} {found.params}".rstrip()),
        ("state", str(entry.state)),
        ("age_s", entry.age_s),
        ("expires_in_s", entry.expires_in_s),
        ("build_ms", entry.build_ms),
        ("built at", entry.built_at),
        ("built by", None if builder is None else builder.by),
        ("in process", None if builder is None else builder.process),
        ("in job", None if builder is None else builder.job_id),
        ("last read", demand.read_at),
        ("kept warm", demand.kept_warm),
        ("prediction", found.prediction),
        ("readers", access.rule if access.number is None else f"{access.number} {access.rule}"),
        ("some of them", ", ".join(f"{name} ({role})" for name, role in access.readers.items()) or None),
    ]
    if access.asked is not None:
        shown.append((f"reader {access.asked}", access.role or "may not read it"))
    facts("why", [fact for fact in shown if fact[1] is not None])
    models("stamps", ("name", "present", "made_at"), found.stamps)
    draw_events(found.events, f"last changes of it, among {found.events_searched:,} that were searched")
    table("rules", ("event", "rule"), list(found.rules.items()))


@operator(_draw)
async def explain(
    on: On,
    view: Annotated[str, typer.Argument(metavar="VIEW", help="A view of the domain.")],
    scope_id: Annotated[str, typer.Argument(metavar="ID", help="The id of its scope.")],
    params: Annotated[str, typer.Option(metavar="JSON", help="The entry's parameters, as JSON.")] = "{}",
    reader: Annotated[str | None, typer.Option(help="Whether this reader may read it.")] = None,
) -> Explanation:
    """Say what a read of an entry does now, and why: stamps, builder, changes, rules, demand, readers."""
    return await explained(on.stoker, view, scope_id, _read(params), reader, predicted=True)


def _read(params: str) -> dict[str, Any] | None:
    try:
        found = json.loads(params)
    except ValueError as error:
        raise typer.BadParameter(f"no JSON: {error}", param_hint="--params") from error
    if not isinstance(found, dict):
        raise typer.BadParameter('write an object: {"page": 2}', param_hint="--params")
    return found or None
