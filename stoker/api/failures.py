"""Every failure in one shape: `error`, `message`, and `field` if a field is wrong."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from stoker.errors import BadRequest, StokerError
from stoker.http.failures import INTERNAL, RETRY, UNAVAILABLE, status_of
from stoker.operations.texts import writable

log = logging.getLogger(__name__)

NAMES = {400: "bad_request", 404: "not_found", 405: "method_not_allowed", 413: "too_large", 429: "too_many"}


class Failure(BaseModel):
    """Why a request was not served. `error` is a constant for programs, `message` is for people."""

    error: str
    message: str
    field: str | None = None


class Refused(StokerError):
    """A request is answered with this status and goes no further."""

    def __init__(
        self, status: int, error: str, message: str, *, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.error = error
        self.headers = headers


def too_many(wait_s: float) -> Refused:
    """Status 429; the caller may try again after `again_s`."""
    again = str(math.ceil(wait_s))
    message = f"too many requests: try again in {again} s"
    return Refused(429, "too_many", message, headers={"Retry-After": again})


DOCUMENTED: dict[int | str, dict[str, Any]] = {
    400: {"model": Failure, "description": "The request cannot be read."},
    401: {"model": Failure, "description": "The token is missing, malformed or unknown."},
    403: {"model": Failure, "description": "The token's role does not allow it."},
    404: {"model": Failure, "description": "It does not exist, or no longer exists."},
    408: {"model": Failure, "description": "The body did not arrive in time."},
    413: {"model": Failure, "description": "The body is too large."},
    422: {"model": Failure, "description": "A field is wrong; `field` names it."},
    429: {"model": Failure, "description": "Too many requests; `Retry-After` says when to try again."},
    503: {"model": Failure, "description": "A server does not answer; try again."},
}


def install(app: FastAPI) -> None:
    """Answer Stoker's errors and those of validation and routing in this shape."""
    app.add_exception_handler(StokerError, _stoker)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


def answer(status: int, failure: Failure, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The response of a failure."""
    # A name that the caller chose may hold characters that UTF-8 cannot encode.
    said = failure.model_dump(exclude_none=True)
    return JSONResponse({name: writable(value) for name, value in said.items()}, status, headers)


async def _stoker(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, StokerError)  # noqa: S101 - registered for nothing else
    name, message = _snake(type(error).__name__), str(error)
    if isinstance(error, Refused):
        return answer(error.status, Failure(error=error.error, message=message), error.headers)
    status, field = status_of(error), error.field if isinstance(error, BadRequest) else None
    if status == INTERNAL:
        log.error("api.failed", extra={"error": name}, exc_info=error)
    said = Failure(error=name, message=message, field=field)
    return answer(status, said, RETRY if status == UNAVAILABLE else None)


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    problems = error.errors() if isinstance(error, RequestValidationError) else []
    first = problems[0] if problems else {"loc": (), "msg": "invalid request", "type": ""}
    place, *path = [str(part) for part in first["loc"]] or ["body"]
    # Parts of the path of a JSON syntax error are offsets, not names.
    field = place if first["type"] == "json_invalid" else ".".join(path) or place
    return answer(422, Failure(error="invalid_request", message=f"{field}: {first['msg']}", field=field))


async def _http(_: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    name = NAMES.get(error.status_code, "refused")
    return answer(error.status_code, Failure(error=name, message=str(error.detail)), error.headers)


async def _unexpected(_: Request, __: Exception) -> JSONResponse:
    # Starlette raises it again after this answer, and the server logs it.
    return answer(500, Failure(error="internal", message="something went wrong; the log says what"))


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
