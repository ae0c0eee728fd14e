"""What is cached: a ticket, a tenant's board, an agent's inbox, and who may read what is a tenant's."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal

from pydantic import BaseModel, Field
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from stoker import Access, EntryKey, Scope, ScopeKind, View, WarmPlan, Within

TENANT, TICKET, AGENT = ScopeKind("tenant"), ScopeKind("ticket"), ScopeKind("agent")
Keys = Sequence[EntryKey]
Values = Mapping[EntryKey, Any]


class BoardParams(BaseModel):
    """What a request for a board may vary. Each combination is an entry of its own."""

    status: Literal["open", "solved"] = "open"
    limit: int = Field(default=50, ge=1, le=200)


def ids(keys: Keys) -> dict[str, list[int]]:
    return {"ids": [key.scope.number for key in keys]}


async def load_tickets(session: AsyncSession, keys: Keys) -> Values:
    """Tickets with their comments, however many, in two statements; each with the tenant that it is of."""
    found = await session.execute(
        text("SELECT id, tenant_id, title, status FROM tickets WHERE id = ANY(:ids)"), ids(keys)
    )
    rows = found.all()
    pages = {row.id: {"title": row.title, "status": row.status, "comments": []} for row in rows}
    tenants = {row.id: row.tenant_id for row in rows}
    comments = await session.execute(
        text(
            "SELECT c.ticket_id, a.name, c.body FROM comments c JOIN agents a ON a.id = c.agent_id"
            " WHERE c.ticket_id = ANY(:ids) ORDER BY c.id"
        ),
        ids(keys),
    )
    for ticket_id, name, body in comments:
        pages[ticket_id]["comments"].append({"agent": name, "body": body})
    return {
        key: Within(tenants[key.scope.number], pages[key.scope.number])
        for key in keys
        if key.scope.number in pages
    }


async def load_boards(session: AsyncSession, keys: Keys) -> Values:
    """Boards of many tenants. The parameters differ from key to key, so they are applied here."""
    found = await session.execute(
        text("SELECT tenant_id, id, title, status FROM tickets WHERE tenant_id = ANY(:ids) ORDER BY id DESC"),
        ids(keys),
    )
    rows = found.all()
    boards = {}
    for key in keys:
        wanted: BoardParams = BOARD.params_of(key)
        mine = [row for row in rows if row.tenant_id == key.scope.number and row.status == wanted.status]
        boards[key] = [{"id": row.id, "title": row.title} for row in mine[: wanted.limit]]
    return boards


async def load_inboxes(session: AsyncSession, keys: Keys) -> Values:
    """Open tickets of all tenants that an agent works for, counted."""
    found = await session.execute(
        text(
            "SELECT m.agent_id, n.name, count(t.id) FROM tenant_agents m JOIN tenants n ON n.id = m.tenant_id"
            " LEFT JOIN tickets t ON t.tenant_id = m.tenant_id AND t.status = 'open'"
            " WHERE m.agent_id = ANY(:ids) GROUP BY m.agent_id, n.name ORDER BY n.name"
        ),
        ids(keys),
    )
    inboxes: dict[int, dict[str, int]] = {}
    for agent_id, tenant, count in found:
        inboxes.setdefault(agent_id, {})[tenant] = count
    return {key: inboxes.get(key.scope.number, {}) for key in keys}


async def load_tenant_access(session: AsyncSession, keys: Keys) -> Values:
    """Who may read what is a tenant's: reader id -> role. A tenant without agents is readable by nobody."""
    found = await session.execute(
        text(
            "SELECT n.id, m.agent_id, m.role FROM tenants n LEFT JOIN tenant_agents m ON m.tenant_id = n.id"
            " WHERE n.id = ANY(:ids)"
        ),
        ids(keys),
    )
    roles: dict[int, dict[str, str]] = {}
    for number, agent_id, role in found:
        mine = roles.setdefault(number, {})
        if agent_id is not None:
            mine[str(agent_id)] = role
    return {key: roles[key.scope.number] for key in keys if key.scope.number in roles}


async def active(session: AsyncSession, _scope: Scope | None) -> Keys:
    """What is warmed by itself: the boards of tenants with open tickets, and who may read them."""
    found = await session.scalars(text("SELECT DISTINCT tenant_id FROM tickets WHERE status = 'open'"))
    scopes = [TENANT.scope(number) for number in found]
    return [view.key(scope) for scope in scopes for view in (TENANT_ACCESS, BOARD)]


TENANT_ACCESS = View("tenant_access", TENANT, load_tenant_access, access=Access.ANYONE)
BOARD = View(
    "board",
    TENANT,
    load_boards,
    ttl=timedelta(minutes=10),
    params=BoardParams,
    access_view=TENANT_ACCESS,
)
PAGE = View(
    "ticket",
    TICKET,
    load_tickets,
    ttl=timedelta(hours=1),
    access=Access.within(TENANT),
    access_view=TENANT_ACCESS,
)
INBOX = View("inbox", AGENT, load_inboxes, ttl=timedelta(minutes=10), access=Access.OWNER)

VIEWS = (TENANT_ACCESS, BOARD, PAGE, INBOX)
WARM_PLANS = (WarmPlan("active", active),)
