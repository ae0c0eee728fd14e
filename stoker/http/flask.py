"""Stoker in a Flask application: readings as responses, and its errors answered.

stoker = SyncStoker(domain=domain)
app = Flask(__name__)
install(app)

@app.get("/tickets/<int:ticket_id>")
def ticket(ticket_id):
    return respond(stoker.read("ticket", ticket_id, reader=current_user.id))
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from flask import Flask, Response, request

from stoker.cache.reading import Reading
from stoker.errors import StokerError
from stoker.http.answers import HttpAnswer, answer
from stoker.http.failures import INTERNAL, failure

__all__ = ["install", "respond"]

logger = logging.getLogger(__name__)


def respond(reading: Reading, *, vary: Sequence[str] = ()) -> Response:
    """The response to a reading, for the request that Flask is serving; see `stoker.http.answer`."""
    return _response(answer(reading, request, vary=vary))


def install(app: Flask) -> None:
    """Answer every StokerError that a view raises; see `stoker.http.failure`."""
    app.register_error_handler(StokerError, _refuse)


def _refuse(error: StokerError) -> Response:
    found = failure(error)
    if found.status == INTERNAL:
        logger.error("http.failed", exc_info=error)
    return _response(found)


def _response(found: HttpAnswer) -> Response:
    response = Response(found.body, found.status)
    response.headers.clear()  # or a 304 has a type, and HEAD the length of nothing
    response.headers.update(found.headers)
    return response
