"""What changes the database: each change asks SQL who may do it. Postgres records the events (rules.py)."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from helpdesk.mails import TellOfComment
from stoker import Forbidden, NotFound, Receipt, Stoker


async def open_ticket(stoker: Stoker, agent_id: int, tenant_id: int, title: str) -> int:
    """A new ticket; returns its id."""
    async with stoker.session() as session, session.begin():
        await require_agent(session, tenant_id, agent_id)
        return await session.scalar(
            text("INSERT INTO tickets (tenant_id, title) VALUES (:tenant_id, :title) RETURNING id"),
            {"tenant_id": tenant_id, "title": title},
        )


async def set_status(stoker: Stoker, agent_id: int, ticket_id: int, status: str) -> Receipt:
    """Solve a ticket, or open it again."""
    async with stoker.session() as session, session.begin():
        await require_agent(session, await tenant_of(session, ticket_id), agent_id)
        await session.execute(
            text("UPDATE tickets SET status = :status WHERE id = :id"), {"status": status, "id": ticket_id}
        )
        return stoker.applied(session)


async def comment(stoker: Stoker, agent_id: int, ticket_id: int, body: str) -> Receipt:
    """Say something about a ticket; the mails about it are sent if this commits."""
    async with stoker.session() as session, session.begin():
        await require_agent(session, await tenant_of(session, ticket_id), agent_id)
        comment_id = await session.scalar(
            text(
                "INSERT INTO comments (ticket_id, agent_id, body) VALUES (:ticket_id, :agent_id, :body)"
                " RETURNING id"
            ),
            {"ticket_id": ticket_id, "agent_id": agent_id, "body": body},
        )
        stoker.enqueue_in(session, TellOfComment(comment_id=comment_id))
        return stoker.applied(session)


async def remove_agent(stoker: Stoker, tenant_id: int, agent_id: int) -> None:
    """Take an agent's right away. Returns when nobody is shown anything by it any more.

    Raises CommittedNotApplied when that could not be confirmed: tell the caller. The worker goes on trying.
    """
    async with stoker.session() as session:
        await session.execute(
            text("DELETE FROM tenant_agents WHERE tenant_id = :tenant_id AND agent_id = :agent_id"),
            {"tenant_id": tenant_id, "agent_id": agent_id},
        )
        await stoker.commit_revocation(session)


async def tenant_of(session: AsyncSession, ticket_id: int) -> int:
    tenant_id = await session.scalar(text("SELECT tenant_id FROM tickets WHERE id = :id"), {"id": ticket_id})
    if tenant_id is None:
        raise NotFound(f"there is no ticket {ticket_id}")
    return tenant_id


async def require_agent(session: AsyncSession, tenant_id: int, agent_id: int) -> None:
    """Writers never ask the cache who may do what."""
    found = await session.scalar(
        text("SELECT 1 FROM tenant_agents WHERE tenant_id = :tenant_id AND agent_id = :agent_id FOR SHARE"),
        {"tenant_id": tenant_id, "agent_id": agent_id},
    )
    if found is None:
        raise Forbidden(f"agent {agent_id} does not work for tenant {tenant_id}")
