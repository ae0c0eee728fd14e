"""Guestbooks: Flask, synchronous SQLAlchemy, any number of gunicorn's workers and threads."""

import os
from functools import cache
from pathlib import Path

from flask import Flask, request
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.orm import Session

from stoker import Access, Domain, Event, Invalidation, Rule, ScopeKind, SyncStoker, View
from stoker.http.flask import install, respond

BOOK = ScopeKind("book")


async def load_pages(session, keys):
    """What is written in many books, in one statement. Loaders are asynchronous in any application."""
    found = await session.execute(
        text("SELECT book_id, name, words FROM entries WHERE book_id = ANY(:ids) ORDER BY id DESC"),
        {"ids": [key.scope.number for key in keys]},
    )
    entries = found.all()
    return {
        key: [{"name": row.name, "words": row.words} for row in entries if row.book_id == key.scope.number]
        for key in keys
    }


PAGE = View("page", BOOK, load_pages, access=Access.ANYONE)


class Signed(Event):
    kind = "guestbook.signed"
    book_id: int


domain = Domain(
    name="guestbook",
    scopes=(BOOK,),
    views=(PAGE,),
    rules=(Rule(Signed, lambda event: [Invalidation(BOOK.scope(event.book_id))]),),
    migrations=Path(__file__).parent / "migrations",
)

# Nothing is connected here: gunicorn forks after the import, and each worker connects by itself.
stoker = SyncStoker(domain=domain)
app = Flask(__name__)
install(app)


@cache
def engine():
    return create_engine(make_url(os.environ["DATABASE_URL"]).set(drivername="postgresql+psycopg"))


@app.get("/books/<int:book_id>")
def show(book_id):
    return respond(stoker.read(PAGE, book_id))


@app.post("/books/<int:book_id>")
def sign(book_id):
    with Session(engine()) as session, session.begin():
        session.execute(
            text("INSERT INTO entries (book_id, name, words) VALUES (:book_id, :name, :words)"),
            {"book_id": book_id, **request.get_json()},
        )
        receipt = stoker.record(session, Signed(book_id=book_id))
    return {"state": receipt.applied()}  # so that the signer's next page shows it
