"""What can happen, and which views of which scopes it makes wrong."""

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from helpdesk.views import AGENT, BOARD, INBOX, PAGE, TENANT, TENANT_ACCESS, TICKET
from stoker import Capture, Event, Invalidation, Rule


class TicketChanged(Event):
    """A ticket was opened, renamed, solved, opened again or removed."""

    kind = "helpdesk.ticket_changed"
    ticket_id: int
    tenant_id: int


class CommentChanged(Event):
    """A ticket has other comments. Boards and inboxes do not show comments."""

    kind = "helpdesk.comment_changed"
    ticket_id: int


class StaffChanged(Event):
    """An agent began or ceased to work for a tenant, or does so in another role."""

    kind = "helpdesk.staff_changed"
    tenant_id: int
    agent_id: int


class AgentRenamed(Event):
    """An agent has another name, which their comments show."""

    kind = "helpdesk.agent_renamed"
    agent_id: int


class TenantChanged(Event):
    """A tenant is new, gone, or has another name, which inboxes show."""

    kind = "helpdesk.tenant_changed"
    tenant_id: int


def ticket_changed(event: TicketChanged) -> list[Invalidation]:
    return [
        Invalidation(TICKET.scope(event.ticket_id), {PAGE}),
        Invalidation(TENANT.scope(event.tenant_id), {BOARD}),
    ]


async def inboxes_now(
    session: AsyncSession, events: Sequence[TicketChanged | TenantChanged]
) -> list[Invalidation]:
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


async def commented_now(session: AsyncSession, events: Sequence[AgentRenamed]) -> list[Invalidation]:
    """The tickets that the agents have commented on."""
    found = await session.scalars(
        text("SELECT DISTINCT ticket_id FROM comments WHERE agent_id = ANY(:ids)"),
        {"ids": [event.agent_id for event in events]},
    )
    return [Invalidation(TICKET.scope(number), {PAGE}) for number in found]


RULES = (
    Rule(TicketChanged, ticket_changed, inboxes_now),
    Rule(CommentChanged, lambda event: [Invalidation(TICKET.scope(event.ticket_id), {PAGE})]),
    Rule(StaffChanged, staff_changed),
    Rule(AgentRenamed, lambda _: (), commented_now),
    Rule(
        TenantChanged,
        lambda event: [Invalidation(TENANT.scope(event.tenant_id), {TENANT_ACCESS}, hard=True)],
        inboxes_now,
    ),
)

CAPTURES = (
    Capture(
        "tickets",
        TicketChanged,
        fields={"ticket_id": "id", "tenant_id": "tenant_id"},
        columns=("title", "status"),
        views={PAGE, BOARD, INBOX},
    ),
    Capture("comments", CommentChanged, fields={"ticket_id": "ticket_id"}, views={PAGE}),
    Capture("tenant_agents", StaffChanged, fields={"tenant_id": "tenant_id", "agent_id": "agent_id"}),
    Capture("agents", AgentRenamed, fields={"agent_id": "id"}, columns=("name",), views={PAGE}),
    Capture("tenants", TenantChanged, fields={"tenant_id": "id"}, columns=("name",)),
)
"""Postgres records these events itself, whoever writes to the tables: no write has to."""
