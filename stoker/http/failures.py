"""Errors of Stoker as HTTP responses: one table, which Stoker's own API uses as well."""

from __future__ import annotations

import json

from stoker.errors import (
    BadRequest,
    CommittedNotApplied,
    Forbidden,
    NotFound,
    StokerError,
    Unavailable,
)
from stoker.http.answers import HttpAnswer

STATUS: tuple[tuple[type[StokerError], int], ...] = (
    (BadRequest, 422),
    (Forbidden, 403),
    (NotFound, 404),
    (Unavailable, 503),
    (CommittedNotApplied, 503),
)
INTERNAL, UNAVAILABLE = 500, 503
RETRY = {"Retry-After": "1"}


def status_of(error: StokerError) -> int:
    """The status that an error is answered with; 500 for a fault of the application itself."""
    return next((status for kind, status in STATUS if isinstance(error, kind)), INTERNAL)


def failure(error: StokerError) -> HttpAnswer:
    """The response to a request that raised an error of Stoker: `error` (its class) and `message`, as JSON.

    `field` names a part of the request that is wrong, `event_id` a change that is committed and not yet in
    effect. The message of a 500 stays in the log: it may name settings and servers.
    """
    status = status_of(error)
    said: dict[str, object] = {"error": type(error).__name__, "message": str(error)}
    if status == INTERNAL:
        said["message"] = "something went wrong; the log says what"
    if isinstance(error, BadRequest):
        said["field"] = error.field
    if isinstance(error, CommittedNotApplied):
        said["event_id"] = error.event_id
    headers = {"Content-Type": "application/json", "Cache-Control": "no-store"}
    if status == UNAVAILABLE:
        headers |= RETRY
    # Escaped: a text that the client sent may hold characters that UTF-8 cannot encode.
    return HttpAnswer(status, headers, json.dumps(said).encode())
