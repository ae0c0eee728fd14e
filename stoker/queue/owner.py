"""The installation that a queue belongs to: its workers run what is under the prefix.

Two applications on one Redis under one prefix would run each other's jobs, each in its own database. So
workers write their installation's id into the queue and refuse another's. Raises QueueUnavailable.
"""

from __future__ import annotations

from stoker.redis.queue import QueueConnection
from stoker.settings import QueueSettings


def owner_name(settings: QueueSettings) -> str:
    """The key that holds the installation's id; it lives as long as the queue."""
    return f"{settings.prefix}:installation"


async def owner(connection: QueueConnection, settings: QueueSettings) -> str | None:
    """The installation that the queue belongs to; None if it belongs to none."""
    found: bytes | None = await connection.command("GET", owner_name(settings))
    return found.decode(errors="replace") if found is not None else None


async def claimed(connection: QueueConnection, settings: QueueSettings, installation: str) -> str | None:
    """Claim the queue if it belongs to none; returns the installation that it belongs to now."""
    await connection.command("SET", owner_name(settings), installation, "NX")
    return await owner(connection, settings)


async def take(connection: QueueConnection, settings: QueueSettings, installation: str) -> None:
    """Claim the queue from whichever installation has it: its jobs will run here."""
    await connection.command("SET", owner_name(settings), installation)


def refused(settings: QueueSettings, theirs: str, installation: str) -> str:
    """What to do about a queue of another installation, in words."""
    return (
        f"the queue Redis is another installation's ({theirs}; this database is {installation}) under "
        f"queue.prefix {settings.prefix!r}: give each application a queue.prefix of its own; if that "
        "database is gone or became this one: stoker migrate --take-queue"
    )
