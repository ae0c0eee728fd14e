"""FastAPI and Flask answering with one constant reading, for tests of what goes over the wire."""

from __future__ import annotations

import json

from fastapi import FastAPI, Request, Response
from flask import Flask
from flask import Response as FlaskResponse

import stoker.http.flask
import stoker.http.starlette
from stoker import NotFound, Reading, State
from stoker.cache.reading import Content

BODY = json.dumps({"text": "page " * 1000}).encode()
READING = Reading(Content.built(BODY), State.HIT)
METHODS = ["GET", "HEAD", "POST"]

fastapi_app = FastAPI()
stoker.http.starlette.install(fastapi_app)
flask_app = Flask(__name__)
stoker.http.flask.install(flask_app)


@fastapi_app.api_route("/page", methods=METHODS)
async def page(request: Request) -> Response:
    return stoker.http.starlette.respond(READING, request)


@fastapi_app.api_route("/nowhere", methods=METHODS)
async def nowhere() -> Response:
    raise NotFound("nowhere")


@flask_app.route("/page", methods=METHODS)
def flask_page() -> FlaskResponse:
    return stoker.http.flask.respond(READING)


@flask_app.route("/nowhere", methods=METHODS)
def flask_nowhere() -> FlaskResponse:
    raise NotFound("nowhere")
