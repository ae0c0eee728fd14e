"""A shop that caches its orders."""

from contextlib import asynccontextmanager
from datetime import timedelta

from fastapi import FastAPI, Request
from sqlalchemy import text

from stoker import Access, Domain, Event, Invalidation, Rule, ScopeKind, Stoker, View
from stoker.http.starlette import install, respond, stoker_of

CREATE = "CREATE TABLE IF NOT EXISTS orders (id bigint PRIMARY KEY, total bigint)"
ORDER = ScopeKind("order")


async def load_pages(session, keys):
    """The pages of many orders in one statement. What is left out does not exist."""
    found = await session.execute(
        text("SELECT id, total FROM orders WHERE id = ANY(:ids)"),
        {"ids": [key.scope.number for key in keys]},
    )
    totals = dict(found.all())
    return {key: {"total": totals[key.scope.number]} for key in keys if key.scope.number in totals}


class OrderChanged(Event):
    kind = "order.changed"  # stored in Postgres: never renamed
    order_id: int


domain = Domain(
    name="shop",
    scopes=(ORDER,),
    views=(View("page", "order", load_pages, ttl=timedelta(minutes=5), access=Access.ANYONE),),
    rules=(
        Rule(
            OrderChanged,
            lambda event: [Invalidation(ORDER.scope(event.order_id))],
            covers=("orders.*",),  # recorded below, with each write
        ),
    ),
)


@asynccontextmanager
async def lifespan(app):
    async with Stoker.opened(domain=domain) as stoker:
        async with stoker.session() as session, session.begin():  # your migrations do this
            await session.execute(text(CREATE))
        app.state.stoker = stoker
        yield


app = FastAPI(lifespan=lifespan)
install(app)


@app.get("/orders/{order_id}")
async def show(order_id: int, request: Request):
    return respond(await stoker_of(request).read("page", order_id), request)


@app.put("/orders/{order_id}")
async def change(order_id: int, total: int, request: Request):
    stoker = stoker_of(request)
    async with stoker.session() as session, session.begin():
        await session.execute(
            text("INSERT INTO orders VALUES (:id, :total) ON CONFLICT (id) DO UPDATE SET total = :total"),
            {"id": order_id, "total": total},
        )
        receipt = stoker.record(session, OrderChanged(order_id=order_id))
    return {
        "state": await receipt.applied()
    }  # waits until every reader sees it; leave it out if nobody has to
