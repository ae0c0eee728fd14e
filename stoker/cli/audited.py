"""`stoker audit`: who did what when, through API, console or command line."""

from __future__ import annotations

from typing import Annotated

import typer

from stoker.cli.display import models
from stoker.cli.opened import Limit, On, operator
from stoker.operations.audit import AuditList, audited


def _draw(found: AuditList) -> None:
    models("audit", ["id", "at", "actor", "address", "action", "arguments"], found.entries)


@operator(_draw)
async def audit(
    on: On,
    actor: Annotated[str | None, typer.Option(help="Only what this token or user did.")] = None,
    action: Annotated[str | None, typer.Option(help="Only this, or all of a kind: `cache`.")] = None,
    limit: Limit = 50,
) -> AuditList:
    """List what operators did, the latest first."""
    return await audited(on.stoker.engine, actor, action, limit)
