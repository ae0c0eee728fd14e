"""What can happen, and which views of which scopes it makes wrong."""

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from helpdesk.views import AGENT, BOARD, INBOX, PAGE, TENANT, TENANT_ACCESS, TICKET
from stoker import Event, Invalidation, Rule


class TicketChanged(Event):
    """A ticket was opened, renamed, solved or opened again."""

    kind = "helpdesk.ticket_changed"
    ticket_id: int
    tenant_id: int


class CommentAdded(Event):
    """A ticket has one more comment. Boards and inboxes do not show comments."""

    kind = "helpdesk.comment_added"
    ticket_id: int


class StaffChanged(Event):
    """An agent began or ceased to work for a tenant, or does so in another role."""

    kind = "helpdesk.staff_changed"
    tenant_id: int
    agent_id: int


def ticket_changed(event: TicketChanged) -> list[Invalidation]:
    return [
        Invalidation(TICKET.scope(event.ticket_id), {PAGE}),
        Invalidation(TENANT.scope(event.tenant_id), {BOARD}),
    ]


async def inboxes_now(session: AsyncSession, events: Sequence[TicketChanged]) -> list[Invalidation]:
    """The inboxes of the tenants' agents, as SQL names them when the change is applied."""
    found = await session.scalars(
        text("SELECT DISTINCT agent_id FROM tenant_agents WHERE tenant_id = ANY(:ids)"),
        {"ids": [event.tenant_id for event in events]},
    )
    return [Invalidation(AGENT.scope(number), {INBOX}) for number in found]


def staff_changed(event: StaffChanged) -> list[Invalidation]:
    """Hard, because a right may be gone: not even a failing loader may bring the old value back.

    Who may read a ticket is what its tenant's access entry says, so the tickets stay cached.
    """
    return [
        Invalidation(TENANT.scope(event.tenant_id), {TENANT_ACCESS}, hard=True),
        Invalidation(AGENT.scope(event.agent_id), {INBOX}, hard=True),
    ]


RULES = (
    Rule(TicketChanged, ticket_changed, inboxes_now),
    Rule(CommentAdded, lambda event: [Invalidation(TICKET.scope(event.ticket_id), {PAGE})]),
    Rule(StaffChanged, staff_changed),
)
