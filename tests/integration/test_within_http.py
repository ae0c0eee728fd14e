"""Entries within a parent over HTTP, through Starlette and Flask, and read by threads: on real servers."""

from __future__ import annotations

from collections.abc import Coroutine, Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request, Response
from fastapi.testclient import TestClient
from flask import Flask
from flask import Response as FlaskResponse
from flask import request as flask_request
from sqlalchemy import text

import stoker.http.flask
import stoker.http.starlette
from stoker import Asked, Event, Forbidden, NotFound, State, Stoker, SyncStoker
from stoker.loop_thread import LoopThread
from stoker.testing import apply
from tests.support.folders import FILLED, TABLES, FolderClosed, Folders, SheetChanged
from tests.support.place import Place

PATH = "/folders/{}/sheets/1"
READER = "X-Reader"


@pytest.fixture
def sync(place: Place) -> Iterator[SyncStoker]:
    """The folders and sheets of tests/support/folders.py."""
    with SyncStoker(place.settings(), Folders().domain) as sync:
        sync.call(lambda stoker: change(stoker, *TABLES, *FILLED))
        yield sync


async def change(stoker: Stoker, *statements: str, event: Event | None = None) -> None:
    """Run statements and see what they changed applied."""
    async with stoker.session() as session, session.begin():
        for statement in statements:
            await session.execute(text(statement))
        if event is not None:
            stoker.record(session, event)
    await apply(stoker)


MOVED = ("UPDATE sheets SET folder_id = 2 WHERE id = 1", SheetChanged(sheet_id=1))
REMOVED = ("DELETE FROM folder_members WHERE (folder_id, reader_id) = (1, 1)", FolderClosed(folder_id=1))


def put(sync: SyncStoker, what: tuple[str, Event]) -> None:
    """Make a change, and see it applied."""
    sync.call(lambda stoker: change(stoker, what[0], event=what[1]))


def fastapi_client(place: Place, _: SyncStoker) -> httpx.Client:
    """A FastAPI application with a Stoker of its own."""
    app = FastAPI(lifespan=stoker.http.starlette.lifespan(place.settings(), Folders().domain))
    stoker.http.starlette.install(app)

    @app.api_route("/folders/{folder_id}/sheets/{sheet_id}", methods=["GET", "HEAD"])
    async def sheet(folder_id: int, sheet_id: int, request: Request) -> Response:
        found = stoker.http.starlette.stoker_of(request)
        reader = request.headers.get(READER)
        reading = await found.read("page", sheet_id, within=folder_id, reader=reader)
        return stoker.http.starlette.respond(reading, request)

    return TestClient(app, raise_server_exceptions=False)  # type: ignore[return-value] # it has the same methods


def flask_client(_: Place, sync: SyncStoker) -> httpx.Client:
    """A Flask application."""
    app = Flask(__name__)
    stoker.http.flask.install(app)

    @app.get("/folders/<int:folder_id>/sheets/<int:sheet_id>")
    def sheet(folder_id: int, sheet_id: int) -> FlaskResponse:
        reader = flask_request.headers.get(READER)
        return stoker.http.flask.respond(sync.read("page", sheet_id, within=folder_id, reader=reader))

    return httpx.Client(transport=httpx.WSGITransport(app), base_url="http://flask")


@pytest.fixture(params=[fastapi_client, flask_client])
def client(request: pytest.FixtureRequest, sync: SyncStoker, place: Place) -> Iterator[httpx.Client]:
    """An application that serves sheets within folders."""
    with request.param(place, sync) as client:
        yield client


def known(client: httpx.Client, folder: int, reader: int) -> dict[str, str]:
    """The headers of a reader who has sheet 1, and is told that this has not changed."""
    headers = {READER: str(reader)}
    etag = client.get(PATH.format(folder), headers=headers).headers["ETag"]
    headers["If-None-Match"] = etag
    for method in ("GET", "HEAD"):
        assert client.request(method, PATH.format(folder), headers=headers).status_code == 304
    return headers


def statuses(client: httpx.Client, folder: int, headers: dict[str, str]) -> set[int]:
    """What a client that has a version is answered, whatever it says of it."""
    tags = (headers["If-None-Match"], f"W/{headers['If-None-Match']}", "*")
    return {
        client.request(method, PATH.format(folder), headers=headers | {"If-None-Match": tag}).status_code
        for method in ("GET", "HEAD")
        for tag in tags
    }


def test_who_has_lost_the_right_to_the_parent_is_not_told_that_nothing_has_changed(
    client: httpx.Client, sync: SyncStoker
) -> None:
    headers = known(client, 1, 1)
    put(sync, REMOVED)
    assert statuses(client, 1, headers) == {403}
    assert statuses(client, 1, headers | {READER: "3"}) == {304}


def test_under_the_parent_that_it_has_left_an_entry_is_not_said_to_be_unchanged(
    client: httpx.Client, sync: SyncStoker
) -> None:
    headers = known(client, 1, 1)
    put(sync, MOVED)
    assert statuses(client, 1, headers) == {404}
    assert statuses(client, 2, headers | {READER: "3"}) == {304}
    assert statuses(client, 2, headers) == {403}


@pytest.mark.parametrize(
    ("folder", "reader", "status"), [(2, "2", 404), (1, "2", 403), (1, None, 403), (9, "1", 404)]
)
def test_who_asks_in_the_wrong_place_learns_nothing_of_what_is_there(
    client: httpx.Client, folder: int, reader: str | None, status: int
) -> None:
    headers = known(client, 1, 1)
    headers.pop(READER)
    if reader is not None:
        headers[READER] = reader
    refused = client.get(PATH.format(folder), headers=headers)
    nowhere = client.get(PATH.format(folder).replace("/1", "/99"), headers=headers)
    assert statuses(client, folder, headers) == {status}
    assert "ETag" not in refused.headers
    assert refused.headers["Cache-Control"] == "no-store"
    if status == 404 and folder == 2:
        assert refused.text.replace("sheet:1/", "sheet:99/") == nowhere.text


@pytest.fixture
def handed(sync: SyncStoker, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What threads hand to the event loop from now on; sheet 1 is near, and a thread has a connection."""
    for _ in range(4):
        sync.read("page", 1, within=1, reader=1)
    handed: list[object] = []
    call = LoopThread.call

    def noted(self: LoopThread, work: Coroutine[Any, Any, object]) -> object:
        handed.append(work)
        return call(self, work)

    monkeypatch.setattr(LoopThread, "call", noted)
    return handed


def test_a_thread_itself_reads_an_entry_under_its_own_parent_only(
    sync: SyncStoker, handed: list[object]
) -> None:
    for _ in range(3):
        assert sync.read("page", 1, within=1, reader=1).state is State.HIT
    assert handed == []
    with pytest.raises(Forbidden):
        sync.read("page", 1, within=1, reader=2)
    sync.read("page", 2, within=2, reader=2)
    for _ in range(3):
        with pytest.raises(NotFound):
            sync.read("page", 1, within=2, reader=2)


@pytest.mark.parametrize(("what", "refusal"), [(MOVED, NotFound), (REMOVED, Forbidden)])
def test_a_thread_is_not_shown_what_has_moved_or_is_no_longer_for_its_reader(
    sync: SyncStoker, handed: list[object], what: tuple[str, Event], refusal: type[Exception]
) -> None:
    put(sync, what)
    assert handed
    for _ in range(3):
        with pytest.raises(refusal):
            sync.read("page", 1, within=1, reader=1)
        [of_many] = sync.read_many([Asked("page", 1, within=1)], reader=1)
        assert isinstance(of_many, refusal)
    folder = 2 if what is MOVED else 1
    assert sync.read("page", 1, within=folder, reader=3).value == {"body": "first"}
