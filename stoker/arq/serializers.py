"""JSON for arq's `job_serializer` and `job_deserializer`.

An exception becomes its class and its text: a client gets a JobExecutionFailed that says both, or a
CancelledError for a job that was aborted. Nothing that is read runs code.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from arq.worker import JobExecutionFailed

ERROR = "__error__"
"""Marks an exception, in JSON."""


def to_json(job: dict[str, Any]) -> bytes:
    """A job or a result of arq as JSON; raises ValueError or TypeError for what JSON cannot express."""
    written = json.dumps(job, default=_of_error, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return written.encode()


def from_json(raw: bytes) -> dict[str, Any]:
    """The job or the result; raises ValueError or TypeError on anything but a JSON object."""
    found = json.loads(raw)
    if not isinstance(found, dict):
        raise TypeError("not a JSON object")
    if "r" in found:
        found["r"] = _error_of(found["r"])
    return found


def _of_error(value: object) -> dict[str, str]:
    if isinstance(value, BaseException):
        return {ERROR: type(value).__name__, "text": str(value)}
    raise TypeError(f"{type(value).__name__} is no JSON")


def _error_of(result: Any) -> Any:  # noqa: ANN401 - whatever a function returned
    if not isinstance(result, dict) or result.keys() != {ERROR, "text"}:
        return result
    if result[ERROR] == asyncio.CancelledError.__name__:
        return asyncio.CancelledError(result["text"])
    said = str(result["text"])
    name = str(result[ERROR])
    return JobExecutionFailed(said if name == JobExecutionFailed.__name__ else f"{name}: {said}")
