"""The web application. It believes the header X-Agent; a real one has sessions."""

from typing import Annotated

from fastapi import Depends, FastAPI, Header, Request, Response
from pydantic import BaseModel

from helpdesk import domain, writes
from helpdesk.views import BOARD, INBOX, PAGE
from stoker import Stoker
from stoker.http.starlette import install, lifespan, respond, stoker_of

app = FastAPI(title="Helpdesk", lifespan=lifespan(domain=domain))
install(app)

TheStoker = Annotated[Stoker, Depends(stoker_of)]
Agent = Annotated[int, Header(alias="X-Agent")]


class Text(BaseModel):
    text: str


@app.get("/tenants/{tenant_id}/tickets/{ticket_id}")
async def ticket(
    tenant_id: int, ticket_id: int, request: Request, stoker: TheStoker, agent: Agent
) -> Response:
    return respond(await stoker.read(PAGE, ticket_id, within=tenant_id, reader=agent), request)


@app.get("/tenants/{tenant_id}/board")
async def board(tenant_id: int, request: Request, stoker: TheStoker, agent: Agent) -> Response:
    return respond(await stoker.read(BOARD, tenant_id, dict(request.query_params), reader=agent), request)


@app.get("/inbox")
async def inbox(request: Request, stoker: TheStoker, agent: Agent) -> Response:
    return respond(await stoker.read(INBOX, agent, reader=agent), request)


@app.post("/tenants/{tenant_id}/tickets")
async def open_ticket(tenant_id: int, title: Text, stoker: TheStoker, agent: Agent) -> dict[str, int]:
    return {"id": await writes.open_ticket(stoker, agent, tenant_id, title.text)}


@app.post("/tickets/{ticket_id}/comments")
async def comment(ticket_id: int, body: Text, stoker: TheStoker, agent: Agent) -> dict[str, str]:
    receipt = await writes.comment(stoker, agent, ticket_id, body.text)
    return {"state": await receipt.applied()}


@app.put("/tickets/{ticket_id}/status/{status}")
async def set_status(ticket_id: int, status: str, stoker: TheStoker, agent: Agent) -> dict[str, str]:
    receipt = await writes.set_status(stoker, agent, ticket_id, status)
    return {"state": await receipt.applied()}


@app.delete("/tenants/{tenant_id}/agents/{agent_id}", status_code=204)
async def remove_agent(tenant_id: int, agent_id: int, stoker: TheStoker) -> None:
    await writes.remove_agent(stoker, tenant_id, agent_id)
