"""Stoker in a Django application: readings as responses, and its errors answered.

MIDDLEWARE = [..., "stoker.http.django.StokerErrors"]

def ticket(request, ticket_id):
    return respond(stoker.read("ticket", ticket_id, reader=request.user.id), request)
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from django.http import HttpRequest, HttpResponse

from stoker.cache.reading import Reading
from stoker.errors import StokerError
from stoker.http.answers import HttpAnswer, answer
from stoker.http.failures import INTERNAL, failure

__all__ = ["StokerErrors", "respond"]

logger = logging.getLogger(__name__)


def respond(reading: Reading, request: HttpRequest, *, vary: Sequence[str] = ()) -> HttpResponse:
    """The response to a reading; see `stoker.http.answer`."""
    return _response(answer(reading, request, vary=vary))


class StokerErrors:
    """Middleware that answers every StokerError which a view raises; see `stoker.http.failure`."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Serve the request; Django calls `process_exception` where a view raises."""
        return self._get_response(request)

    def process_exception(self, _request: HttpRequest, error: Exception) -> HttpResponse | None:
        """The response to an error of Stoker; None leaves any other to Django."""
        if not isinstance(error, StokerError):
            return None
        found = failure(error)
        if found.status == INTERNAL:
            logger.error("http.failed", exc_info=error)
        return _response(found)


def _response(found: HttpAnswer) -> HttpResponse:
    response = HttpResponse(found.body, status=found.status)
    for name in list(response.headers):
        del response[name]
    for name, value in found.headers.items():
        response[name] = value
    return response
