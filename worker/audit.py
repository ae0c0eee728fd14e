"""Who did what when: a row for each action of an operator, through the API or the CLI.

The row is written before the action or in its transaction: an action that cannot be audited is not done.
Arguments hold names and ids only, never payloads or tokens.
"""

from __future__ import annotations

import getpass
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncSession

from jobs.tables import audit_log


@dataclass(frozen=True)
class Actor:
    """Who acts: the name of a token or of a user of this machine, and from where."""

    name: str
    address: str | None = None


async def audit(session: AsyncSession, actor: Actor, action: str, arguments: Mapping[str, Any]) -> None:
    """Add the row to the session's transaction."""
    await session.execute(
        insert(audit_log).values(
            actor=actor.name[:64], address=actor.address, action=action, arguments=dict(arguments)
        )
    )


def local_actor() -> Actor:
    """The user who runs a command."""
    try:
        return Actor(f"cli:{getpass.getuser()}")
    except (KeyError, OSError):  # a container may run as a number without a name
        return Actor("cli")
