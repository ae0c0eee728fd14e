"""The web application. It believes the header X-Agent; a real one has sessions."""

from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, Header, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from helpdesk import domain, writes
from stoker import BadRequest, CommittedNotApplied, Forbidden, NotFound, Stoker, StokerError, Unavailable

STATUS = {Forbidden: 403, NotFound: 404, BadRequest: 422, Unavailable: 503, CommittedNotApplied: 503}


@asynccontextmanager
async def lifespan(app: FastAPI):
    async with Stoker.opened(domain=domain) as app.state.stoker:
        yield


app = FastAPI(title="Helpdesk", lifespan=lifespan)


def stoker_of(request: Request) -> Stoker:
    return request.app.state.stoker


TheStoker = Annotated[Stoker, Depends(stoker_of)]
Agent = Annotated[int, Header(alias="X-Agent")]


class Text(BaseModel):
    text: str


@app.get("/tickets/{ticket_id}")
async def ticket(ticket_id: int, request: Request, stoker: TheStoker, agent: Agent) -> Response:
    return answer(request, await stoker.read("ticket", ticket_id, reader=agent))


@app.get("/tenants/{tenant_id}/board")
async def board(tenant_id: int, request: Request, stoker: TheStoker, agent: Agent) -> Response:
    return answer(request, await stoker.read("board", tenant_id, dict(request.query_params), reader=agent))


@app.get("/inbox")
async def inbox(request: Request, stoker: TheStoker, agent: Agent) -> Response:
    return answer(request, await stoker.read("inbox", agent, reader=agent))


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


@app.exception_handler(StokerError)
async def refuse(_request: Request, error: StokerError) -> JSONResponse:
    status = next((status for kind, status in STATUS.items() if isinstance(error, kind)), 500)
    return JSONResponse({"error": str(error)}, status)


def answer(request: Request, reading) -> Response:
    """Who may read was checked before: an old page is not confirmed to somebody who lost the right to it."""
    headers = {"ETag": reading.etag, "Cache-Control": "private, no-cache", "X-Cache": reading.state}
    if request.headers.get("If-None-Match") == reading.etag:
        return Response(status_code=304, headers=headers)
    return Response(reading.body, media_type="application/json", headers=headers)
